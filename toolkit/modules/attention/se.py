"""SE: channel attention from two linear layers over the channel means.

Squeeze-and-Excitation Networks, CVPR 2018, arXiv 1709.01507.

    y = x * sigmoid(W2 relu(W1 mean over H, W of x))
"""

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SE(nn.Module):
    """Weigh each channel by what all channels hold on average.

    Args:
        in_channels: C of the input.
        reduction: the hidden layer has C // reduction units.
    """

    def __init__(self, in_channels: int, reduction: int = 16):
        super().__init__()
        hidden = in_channels // reduction
        if hidden < 1:
            raise ValueError(f"SE: in_channels {in_channels} is less than reduction {reduction}")
        self.fc = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, in_channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]
