"""ULSAM: a map of attention for each group of channels.

ULSAM: Ultra-Lightweight Subspace Attention Module for Compact Convolutional Neural Networks, WACV 2020,
arXiv 2006.15102.

    each of g contiguous groups of channels x:   y = x + x * softmax over H, W of a(x)
    a(x) = relu(BN(conv1x1 to one channel(maxpool3x3(relu(BN(depth-wise conv1x1(x)))))))
"""

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class ULSAM(nn.Module):
    """Ultra-lightweight subspace attention; all groups in one pass.

    As the authors' code has it: the paper's formula lacks the norms and activations. The softmax spreads over all
    places, so on large maps the output is close to the input.

    Args:
        in_channels: C of the input.
        num_splits: groups of channels.

    Raises:
        ValueError: `num_splits` does not divide the channels.
    """

    MOMENTUM = 0.9  # of the batch norms: what a new batch weighs

    def __init__(self, in_channels: int, num_splits: int = 4):
        super().__init__()
        if in_channels % num_splits:
            raise ValueError(f"ULSAM: in_channels must be divisible by num_splits {num_splits}, got {in_channels}")
        self.num_splits = num_splits
        self.conv_dws = nn.Conv2d(in_channels, in_channels, 1, groups=in_channels)
        self.bn_dws = nn.BatchNorm2d(in_channels, momentum=self.MOMENTUM)
        self.conv_point = nn.Conv2d(in_channels, num_splits, 1, groups=num_splits)
        self.bn_point = nn.BatchNorm2d(num_splits, momentum=self.MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        attention = F.max_pool2d(self.bn_dws(self.conv_dws(x)).relu(), 3, 1, 1)
        attention = self.bn_point(self.conv_point(attention)).relu().flatten(2).softmax(-1)  # (B, g, H * W)
        groups = x.unflatten(1, (self.num_splits, -1)).flatten(3)  # (B, g, C / g, H * W)
        return (groups + groups * attention.unsqueeze(2)).reshape(x.shape)
