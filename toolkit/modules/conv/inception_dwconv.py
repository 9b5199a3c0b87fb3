"""InceptionDWConv2d: a large depthwise kernel split into a small square, two bands and the identity.

InceptionNeXt: When Inception Meets ConvNeXt, CVPR 2024, arXiv 2303.16900.

    y = concat(x_0, dw_kxk(x_1), dw_1xb(x_2), dw_bx1(x_3))    x_1, x_2, x_3 of g = int(C * ratio) channels, x_0 the rest
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class InceptionDWConv2d(nn.Module):
    """Mix tokens with three depthwise convolutions on a few channels each.

    Args:
        in_channels: C of the input and the output.
        square_kernel_size: k, odd.
        band_kernel_size: b, odd; 11 in the published networks, 9 in the smallest.
        branch_ratio: share of the channels of each convolution; 0.125 in the published networks, 0.25 in the smallest.

    Raises:
        ValueError: a kernel size is even, or the ratio leaves a convolution none of the channels or takes all.
    """

    def __init__(
        self, in_channels: int, square_kernel_size: int = 3, band_kernel_size: int = 11, branch_ratio: float = 0.125
    ):
        super().__init__()
        branch = int(in_channels * branch_ratio)
        if branch < 1 or 3 * branch > in_channels:
            raise ValueError(
                f"InceptionDWConv2d: branch_ratio must give 1 to {in_channels // 3} of {in_channels} channels, "
                f"got {branch_ratio}"
            )
        if square_kernel_size % 2 == 0 or band_kernel_size % 2 == 0:
            sizes = f"{square_kernel_size} and {band_kernel_size}"
            raise ValueError(f"InceptionDWConv2d: kernel sizes must be odd, got {sizes}")
        self.channels = (in_channels - 3 * branch, branch, branch, branch)
        square, band = square_kernel_size, band_kernel_size
        self.dwconv_hw = nn.Conv2d(branch, branch, square, padding=square // 2, groups=branch)
        self.dwconv_w = nn.Conv2d(branch, branch, (1, band), padding=(0, band // 2), groups=branch)
        self.dwconv_h = nn.Conv2d(branch, branch, (band, 1), padding=(band // 2, 0), groups=branch)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        same, square, wide, high = x.split(self.channels, 1)
        return torch.cat((same, self.dwconv_hw(square), self.dwconv_w(wide), self.dwconv_h(high)), 1)
