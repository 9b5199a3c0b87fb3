"""E2GC: a grouped convolution with the same number of channels in every group, and not the same number of groups.

E2GC: Energy-efficient Group Convolution in Deep Neural Networks, VLSI Design 2020, arXiv 2006.15100.

    y = conv(x, W, groups = in_channels / group_size)

By their abstract, a constant group size balances computation against the moving of data in wide and narrow layers
alike, in MobileNet-V1 and ResNeXt-50. Of the authors' code nothing is published but a checkpoint; nothing tells which
size it has, or that the layer is more than this.
"""

from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class E2GC(nn.Conv2d):
    """Grouped convolution with `group_size` input channels in each group.

    `switch_to_deploy()` makes it a plain grouped convolution.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias, padding_mode: as of nn.Conv2d.
        groups: not heeded: what a network asks for, `group_size` replaces.
        group_size: input channels in each group.

    Raises:
        ValueError: `in_channels` does not divide into groups of this size, or `out_channels` into as many groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int | None = None,
        bias: bool = True,
        padding_mode: str = "zeros",
        group_size: int = 16,
    ):
        if group_size < 1 or in_channels % group_size:
            raise ValueError(f"E2GC: in_channels must be divisible by group_size {group_size}, got {in_channels}")
        groups = in_channels // group_size
        if out_channels % groups:
            raise ValueError(
                f"E2GC: out_channels must be divisible by the {groups} groups of {group_size} channels, got "
                f"{out_channels}"
            )
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)

    def switch_to_deploy(self) -> None:
        """Become a plain convolution."""
        self.__class__ = nn.Conv2d  # its state is one's already
