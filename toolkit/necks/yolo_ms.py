"""Path-aggregation necks of YOLO-MS and of YOLOv8 with MS-Blocks.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480, on the two-way pyramid of PANet (CVPR 2018, arXiv 1803.01534).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.backbones.yolo_ms import KAIMING, round_up
from toolkit.modules.conv.ms_block import MSBlock


class _PAFPN(BaseModule):
    """Top-down, then bottom-up; a subclass fills `reduce_layers`, `top_down_layers`, `downsample_layers`,
    `bottom_up_layers` and `out_layers`."""

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features (B, C_i, H_i, W_i), finest first -> as many of the same sizes with the neck's channels."""
        laterals = [layer(x) for layer, x in zip(self.reduce_layers, inputs, strict=True)]
        inner = [laterals[-1]]  # coarsest first
        for lateral, layer in zip(laterals[-2::-1], self.top_down_layers, strict=True):
            upsampled = F.interpolate(inner[-1], size=lateral.shape[-2:], mode="nearest")
            inner.append(layer(torch.cat([upsampled, lateral], 1)))
        outs = [inner.pop()]  # finest first
        for down, layer in zip(self.downsample_layers, self.bottom_up_layers, strict=True):
            outs.append(layer(torch.cat([down(outs[-1]), inner.pop()], 1)))
        return tuple(layer(out) for layer, out in zip(self.out_layers, outs, strict=True))


@MODELS.register_module()
class YOLOMSPAFPN(_PAFPN):
    """YOLO-MS neck: 1x1 to the inner widths, MSBlocks on the way down and up, 3x3 to one width on every level.

    Args:
        in_channels: the backbone's widths before widening, finest first.
        mid_channels: inner widths before widening.
        out_channels: output width before widening.
        deepen_factor: each MSBlock has round(num_layers * deepen_factor) layers.
        widen_factor: times all widths, cut to an integer.
        kernel_sizes, in_expand_ratio, in_down_ratio, mid_expand_ratio, num_layers: see `MSBlock`.
        norm_cfg, act_cfg: of every convolution.
        init_cfg: Kaiming uniform by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (320, 640, 1280),
        mid_channels: Sequence[int] = (160, 320, 640),
        out_channels: int = 240,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        kernel_sizes: Sequence[int] = (1, 3, 3),
        in_expand_ratio: float = 3,
        in_down_ratio: int = 2,
        mid_expand_ratio: float = 2,
        num_layers: int = 3,
        norm_cfg: dict = dict(type="BN"),
        act_cfg: dict = dict(type="SiLU", inplace=True),
        init_cfg: dict | list | None = KAIMING,
    ):
        super().__init__(init_cfg)
        widths = [int(channels * widen_factor) for channels in in_channels]
        mids = [int(channels * widen_factor) for channels in mid_channels]
        out = int(out_channels * widen_factor)
        top = len(mids) - 1
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)

        def conv(in_width: int, out_width: int, kernel_size: int, stride: int = 1) -> ConvModule:
            return ConvModule(in_width, out_width, kernel_size, stride=stride, padding=kernel_size // 2, **cfg)

        def block(in_width: int, out_width: int) -> MSBlock:
            return MSBlock(
                in_width,
                out_width,
                kernel_sizes,
                in_expand_ratio=in_expand_ratio,
                in_down_ratio=in_down_ratio,
                mid_expand_ratio=mid_expand_ratio,
                num_layers=round(num_layers * deepen_factor),
                **cfg,
            )

        self.reduce_layers = nn.ModuleList(
            nn.Sequential(conv(width, mid, 1), *([conv(mid, mids[i - 1], 1)] if i == top else []))
            for i, (width, mid) in enumerate(zip(widths, mids, strict=True))
        )
        self.top_down_layers = nn.ModuleList(
            nn.Sequential(block(2 * mids[i], mids[i]), conv(mids[i], mids[i - 1], 1))
            if i
            else block(2 * mids[i], mids[i])
            for i in reversed(range(top))
        )
        self.downsample_layers = nn.ModuleList(conv(mid, mid, 3, stride=2) for mid in mids[:-1])
        self.bottom_up_layers = nn.ModuleList(block(2 * mids[i], mids[i + 1]) for i in range(top))
        self.out_layers = nn.ModuleList(conv(mid, out, 3) for mid in mids)


@MODELS.register_module()
class YOLOv8MSPAFPN(_PAFPN):
    """YOLOv8 neck with MSBlocks in place of its C2f blocks; the levels keep the backbone's widths.

    Args:
        in_channels: the backbone's widths before widening, finest first.
        deepen_factor: each MSBlock has int(num_layers * deepen_factor) layers.
        widen_factor: times all widths, rounded up to multiples of 8.
        kernel_sizes, in_expand_ratio, in_down_ratio, mid_expand_ratio, num_layers: see `MSBlock`.
        norm_cfg, act_cfg: of every convolution.
        init_cfg: Kaiming uniform by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (320, 640, 1280),
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        kernel_sizes: Sequence[int] = (1, 3, 3),
        in_expand_ratio: float = 3,
        in_down_ratio: int = 2,
        mid_expand_ratio: float = 2,
        num_layers: int = 3,
        norm_cfg: dict = dict(type="BN", momentum=0.03, eps=0.001),
        act_cfg: dict = dict(type="SiLU", inplace=True),
        init_cfg: dict | list | None = KAIMING,
    ):
        super().__init__(init_cfg)
        widths = [round_up(channels * widen_factor) for channels in in_channels]
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)

        def block(fine: int, coarse: int, out: int) -> MSBlock:
            return MSBlock(
                fine + coarse,
                out,
                kernel_sizes,
                in_expand_ratio=in_expand_ratio,
                in_down_ratio=in_down_ratio,
                mid_expand_ratio=mid_expand_ratio,
                num_layers=int(num_layers * deepen_factor),
                **cfg,
            )

        pairs = list(pairwise(widths))
        self.reduce_layers = nn.ModuleList(nn.Identity() for _ in widths)
        self.top_down_layers = nn.ModuleList(block(fine, coarse, fine) for fine, coarse in reversed(pairs))
        self.downsample_layers = nn.ModuleList(
            ConvModule(fine, fine, 3, stride=2, padding=1, **cfg) for fine, _ in pairs
        )
        self.bottom_up_layers = nn.ModuleList(block(fine, coarse, coarse) for fine, coarse in pairs)
        self.out_layers = nn.ModuleList(nn.Identity() for _ in widths)
