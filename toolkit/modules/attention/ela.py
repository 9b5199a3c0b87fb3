"""ELA: weigh rows and columns by 1-D convolutions along them.

ELA: Efficient Local Attention for Deep Convolutional Neural Networks, 2024, arXiv 2403.01123.

    y = x * sigmoid(gn(conv1d(mean over W of x))) * sigmoid(gn(conv1d(mean over H of x)))
"""

from mmengine.registry import MODELS
from torch import Tensor, nn

# kernel size, channels in a group of the convolution, groups of the norm
VARIANTS = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, 8, 16), "L": (7, 8, 16)}


@MODELS.register_module()
class ELA(nn.Module):
    """Efficient local attention.

    One convolution and one norm serve both directions, as in all reproductions; the paper's formula gives each its
    own, and its authors have published no code.

    Args:
        in_channels: C of the input, divisible by the variant's norm groups.
        variant: of the paper: T, B (depthwise), S, L (8 channels a group); T and S have kernels of 5, B and L of 7.

    Raises:
        ValueError: the variant is unknown, or C is not divisible.
    """

    def __init__(self, in_channels: int, variant: str = "B"):
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"ELA: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        kernel_size, width, num_groups = VARIANTS[variant]
        divisor = max(num_groups, width)
        if in_channels % divisor:
            raise ValueError(
                f"ELA: in_channels must be divisible by {divisor} for variant {variant}, got {in_channels}"
            )
        self.con1 = nn.Conv1d(
            in_channels, in_channels, kernel_size, padding=kernel_size // 2, groups=in_channels // width, bias=False
        )
        self.GN = nn.GroupNorm(num_groups, in_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        rows, columns = (self.GN(self.con1(x.mean(dim))).sigmoid() for dim in (3, 2))
        return x * rows.unsqueeze(3) * columns.unsqueeze(2)
