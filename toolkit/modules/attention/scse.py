"""scSE: weigh channels by what all channels hold, and places by what all channels hold there.

Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional Networks, MICCAI 2018, arXiv 1803.02579.

    cSE:   y = x * sigmoid(W2 relu(W1 mean over H, W of x + b1) + b2)
    sSE:   y = x * sigmoid(conv1x1(x))
    scSE:  y = max(cSE(x), sSE(x))
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class cSE(nn.Module):
    """Spatial squeeze, channel excitation.

    Args:
        in_channels: C of the input.
        reduction: the hidden layer has C // reduction units.

    Raises:
        ValueError: fewer channels than `reduction`.
    """

    def __init__(self, in_channels: int, reduction: int = 2):
        super().__init__()
        if in_channels < reduction:
            raise ValueError(f"cSE: in_channels {in_channels} is less than reduction {reduction}")
        self.fc1 = nn.Linear(in_channels, in_channels // reduction)
        self.fc2 = nn.Linear(in_channels // reduction, in_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


@MODELS.register_module()
class sSE(nn.Module):
    """Channel squeeze, spatial excitation.

    Args:
        in_channels: C of the input.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.conv(x).sigmoid()


@MODELS.register_module()
class scSE(nn.Module):
    """Both, the larger of the two at each place and channel, as the authors' code has it; the paper adds them.

    Args:
        in_channels: C of the input.
        reduction: as of `cSE`.
    """

    def __init__(self, in_channels: int, reduction: int = 2):
        super().__init__()
        self.cSE = cSE(in_channels, reduction)
        self.sSE = sSE(in_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return torch.maximum(self.cSE(x), self.sSE(x))
