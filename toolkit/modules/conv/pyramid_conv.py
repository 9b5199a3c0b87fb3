"""PConv: a convolution over the levels of a feature pyramid, across space and scale.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101.

    y_l = w_1 * x_l + w_2 *(stride 2) x_{l-1} + resize(w_0 * x_{l+1}),   then norm of the whole pyramid and ReLU

Three 3x3 kernels, one for each neighbour along the scale axis, are shared by all levels. The scale-equalizing form
(SEPC) lets them deform on every level but the finest ones, as the same object covers less exact places there.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


class DeformableConv2d(nn.Conv2d):
    """A convolution that can be run plain (`conv(x)`) or, by `convolve_levels`, with offsets that it predicts itself.

    The offsets start at zero: then both are the same.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)
        self.conv_offset = nn.Conv2d(in_channels, 2 * kernel_size**2, kernel_size, stride, padding)


def level_conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int, deform: bool
) -> nn.Conv2d:
    """A convolution for all levels, its weights from N(0, 0.01) and its bias and offsets zero as published."""
    cls = DeformableConv2d if deform else nn.Conv2d
    conv = cls(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    if deform:
        nn.init.zeros_(conv.conv_offset.weight)
        nn.init.zeros_(conv.conv_offset.bias)
    return conv


def convolve_levels(conv: nn.Conv2d, levels: Sequence[Tensor], plain: int) -> list[Tensor]:
    """Each level through `conv`; where it is deformable, the levels from `plain` on with its offsets, all in one call.

    Args:
        levels: maps (B, C, H, W) of any sizes.
    """
    if not isinstance(conv, DeformableConv2d):
        return [conv(x) for x in levels]
    from toolkit.ops.deform_levels import deform_conv_levels

    rest = levels[plain:]
    deformed = deform_conv_levels(
        rest, [conv.conv_offset(x) for x in rest], conv.weight, conv.bias, conv.stride[0], conv.padding[0]
    )
    return [conv(x) for x in levels[:plain]] + deformed


class IntegratedBatchNorm(nn.Module):
    """One batch norm for all levels of a pyramid: its statistics are those of all their cells together.

    The norm within is an ordinary one, so that `nn.SyncBatchNorm.convert_sync_batchnorm` knows it.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:  # each (B, C, H, W)
        if not self.norm.training:  # a fixed scale and shift: no need to bring the levels together
            return [self.norm(x) for x in levels]
        cells = self.norm(torch.cat([x.flatten(2).unsqueeze(2) for x in levels], 3))  # (B, C, 1, all levels' cells)
        parts = cells.squeeze(2).split([x.shape[2] * x.shape[3] for x in levels], 2)
        return [part.unflatten(2, x.shape[2:]) for part, x in zip(parts, levels, strict=True)]


def channels_last(levels: Sequence[Tensor]) -> list[Tensor]:
    """`levels` in the memory order that convolutions and sampling read fastest on a CPU; on other devices unchanged."""
    return [x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x for x in levels]


@MODELS.register_module()
class PConv(nn.Module):
    """Pyramid convolution with ReLU. Each level must have half the cells of the one before it, rounded up.

    Args:
        in_channels: C of every level.
        out_channels: of every level.
        kernel_size: odd.
        deform: let the kernels deform.
        deform_start_level: the first level whose output comes from deformed kernels; 1 as published, where the finest
            level, which has most of the cells, stays plain.
        ibn: batch norm over the whole pyramid before the ReLU.
    """

    EXAMPLE = dict(args=dict(deform=True), input=[(2, 64, 16, 16), (2, 64, 8, 8), (2, 64, 4, 4)])

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        deform: bool = False,
        deform_start_level: int = 1,
        ibn: bool = True,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"PConv: kernel_size must be odd, got {kernel_size}")
        if deform_start_level < 0:
            raise ValueError(f"PConv: deform_start_level must not be negative, got {deform_start_level}")
        self.deform_start_level = deform_start_level
        self.convs = nn.ModuleList(  # for the coarser level, the level itself, the finer level
            level_conv(in_channels, out_channels, kernel_size, stride, kernel_size // 2, deform) for stride in (1, 1, 2)
        )
        self.bn = IntegratedBatchNorm(out_channels) if ibn else None

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """(B, in_channels, H, W) of each level, finest first, -> (B, out_channels, H, W).

        Raises:
            ValueError: a level has not half the size of the one before.
        """
        check_halving(levels)
        levels = channels_last(levels)
        start = self.deform_start_level
        from_coarser = convolve_levels(self.convs[0], levels[1:], start)
        maps = convolve_levels(self.convs[1], levels, start)
        from_finer = convolve_levels(self.convs[2], levels[:-1], max(start - 1, 0))
        for i, x in enumerate(from_finer, 1):
            maps[i] = maps[i] + x
        for i, x in enumerate(from_coarser):
            maps[i] = maps[i] + F.interpolate(x, size=maps[i].shape[2:], mode="bilinear", align_corners=True)
        return [F.relu(x) for x in (self.bn(maps) if self.bn else maps)]


def check_halving(levels: Sequence[Tensor]) -> None:
    """Raise ValueError where a level has not half the cells, rounded up, of the one before it."""
    for i, (fine, coarse) in enumerate(pairwise(levels)):
        (height, width), size = fine.shape[2:], tuple(coarse.shape[2:])
        half = (-(-height // 2), -(-width // 2))
        if size != half:
            raise ValueError(
                f"PConv: level {i + 1} is {size[0]} x {size[1]}, but half of level {i} ({height} x {width}) is "
                f"{half[0]} x {half[1]}"
            )
