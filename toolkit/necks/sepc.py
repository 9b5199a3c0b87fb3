"""SEPC: pyramid convolutions between a feature pyramid and a detector's last layers, in place of the head's towers.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101.

    x <- PConv(x) four times;   class map = relu(norm(conv_c(x))),   box map = relu(norm(conv_l(x)))

The paper's variants, by `pconv_deform`, `lcconv_deform`, `ibn`: PConv (False, False, False), PConv with integrated
batch norm (False, False, True), SEPC-lite (False, True, True), SEPC (True, True, True).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.modules.conv.pyramid_conv import IntegratedBatchNorm, PConv, channels_last, convolve_levels, level_conv


@MODELS.register_module()
class SEPC(nn.Module):
    """Neck to put after any feature pyramid: `neck=[dict(type='FPN', ...), dict(type='SEPC', in_channels=256)]`.

    It gives a pair of maps for each level, which a dense head takes inside `SEPCHead`; or with `pairs=False` one map,
    which any head and any detector takes, Faster R-CNN too.

    Args:
        in_channels: C of every level, in and out.
        num_pconvs: pyramid convolutions in a row.
        pconv_deform: let their kernels deform.
        lcconv_deform: let the last two convolutions deform, those that part class and box.
        ibn: batch norm over the whole pyramid after each convolution; it wants four pictures or more a device.
        deform_start_level: the first level that is deformed; the finest, with most of the cells, stays plain.
        kernel_size: of all convolutions, odd.
        last_padding: padding of the last two convolutions; None keeps the size. The published weights were trained
            with 0, which takes a cell off each side of every level (two rows and two columns in all), and with anchors
            laid on the smaller grid from the picture's corner on, one stride away from the cell that the features
            belong to. So they need 0, and pictures that leave the coarsest level at least 3 x 3 cells.
        pairs: give (class map, box map) for each level; False leaves the last two convolutions out and gives what the
            pyramid convolutions do.
    """

    def __init__(
        self,
        in_channels: int,
        num_pconvs: int = 4,
        pconv_deform: bool = True,
        lcconv_deform: bool = True,
        ibn: bool = True,
        deform_start_level: int = 1,
        kernel_size: int = 3,
        last_padding: int | None = None,
        pairs: bool = True,
    ):
        super().__init__()
        self.deform_start_level = deform_start_level
        self.pconvs = nn.ModuleList(
            PConv(in_channels, in_channels, kernel_size, pconv_deform, deform_start_level, ibn)
            for _ in range(num_pconvs)
        )
        padding = kernel_size // 2 if last_padding is None else last_padding
        self.least = kernel_size - 2 * padding if pairs else 1  # cells
        self.last_convs, self.last_norms = nn.ModuleDict(), nn.ModuleDict()
        for name in ("cls", "box") if pairs else ():
            self.last_convs[name] = level_conv(in_channels, in_channels, kernel_size, 1, padding, lcconv_deform)
            self.last_norms[name] = IntegratedBatchNorm(in_channels) if ibn else nn.Identity()

    def forward(self, levels: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], ...] | tuple[Tensor, ...]:
        """(B, C, H, W) of each level, finest first, -> (class map, box map) of each level, or one map.

        Raises:
            ValueError: a level is too small for the last convolutions, or has not half the size of the one before.
        """
        self._check_size(levels)
        levels = channels_last(levels)
        for pconv in self.pconvs:
            levels = pconv(levels)
        if not self.last_convs:
            return tuple(levels)
        cls_maps, box_maps = (
            [F.relu(x) for x in self.last_norms[name](convolve_levels(conv, levels, self.deform_start_level))]
            for name, conv in self.last_convs.items()
        )
        return tuple(zip(cls_maps, box_maps, strict=True))

    def _check_size(self, levels: Sequence[Tensor]) -> None:
        height, width = levels[-1].shape[2:]
        if min(height, width) < self.least:
            raise ValueError(
                f"SEPC: the coarsest level is {height} x {width} cells, but its last convolutions, which have no "
                f"padding to make up for it, need at least {self.least} x {self.least}: give pictures whose sides are "
                f"longer than {self.least - 1} strides of that level ({(self.least - 1) * 128} pixels where it is P7), "
                "or leave last_padding out"
            )
