"""ECA: weigh each channel by its neighbours in channel order.

ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020, arXiv 1910.03151.

    y = x * sigmoid(conv1d_k(mean over H, W of x))
"""

import math

from mmengine.registry import MODELS
from torch import Tensor, nn


def adaptive_kernel_size(channels: int, gamma: float = 2.0, beta: float = 1.0) -> int:
    """Odd kernel size for `channels`, the paper's equation 12."""
    return int(abs(math.log2(channels) + beta) / gamma) | 1


@MODELS.register_module()
class ECA(nn.Module):
    """Efficient channel attention.

    Args:
        in_channels: C of the input.
        kernel_size: taps of the convolution, odd; None for the paper's rule. The authors' code gives them by stage
            instead: 3, 5, 7, 7 in ResNet-18, 3, 5, 5, 7 in ResNet-50, 3, 3, 5, 7 in -34, -101 and -152.

    Raises:
        ValueError: an even `kernel_size`.
    """

    def __init__(self, in_channels: int, kernel_size: int | None = None):
        super().__init__()
        kernel_size = kernel_size or adaptive_kernel_size(in_channels)
        if kernel_size % 2 == 0:
            raise ValueError(f"ECA: kernel_size must be odd, got {kernel_size}")
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        weight = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()  # (B, 1, C)
        return x * weight.transpose(1, 2).unsqueeze(-1)
