"""Backbones of YOLO-MS and of YOLOv8 with MS-Blocks.

YOLO-MS: Rethinking Multi-Scale Representation Learning for Real-Time Object Detection, TPAMI 2025,
arXiv 2308.05480. Depthwise kernels grow with depth: 3, 5, 7, 9 in the four stages.
"""

import math
from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolkit.backbones.base import Backbone
from toolkit.modules.conv.ms_block import MSBlock
from toolkit.modules.conv.sppf import SPPF

KAIMING = dict(
    type="Kaiming",
    layer="Conv2d",
    a=math.sqrt(5),
    distribution="uniform",
    mode="fan_in",
    nonlinearity="leaky_relu",
)


def round_up(channels: float, divisor: int = 8) -> int:
    """The least multiple of `divisor` that is at least `channels`."""
    return math.ceil(channels / divisor) * divisor


class MSBackbone(Backbone):
    """A stem and four stages, `stage1` to `stage4`, at strides 4, 8, 16, 32.

    Args:
        deepen_factor: each MSBlock has int(num_layers * deepen_factor) layers.
        widen_factor: times the widths 80, 160, 320, 640, 1280.
        in_channels: channels of the picture.
        out_indices: which stages to give, 0 for stride 4 to 3 for stride 32.
        kernel_sizes: depthwise kernel of each stage.
        in_expand_ratio, mid_expand_ratio, num_layers: see `MSBlock`.
        attention_cfg: a registered module after every MSBlock, built with its `in_channels`.
        frozen_stages, with_cp: see `Backbone`.
        norm_eval: keep batch norms in evaluation mode while training.
        norm_cfg, act_cfg: of every convolution outside the SPPF.
        init_cfg: Kaiming uniform by default.
    """

    base_channels = (80, 160, 320, 640, 1280)

    def __init__(
        self,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (1, 2, 3),
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        in_expand_ratio: float = 3,
        mid_expand_ratio: float = 2,
        num_layers: int = 3,
        attention_cfg: dict | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type="BN"),
        act_cfg: dict = dict(type="SiLU", inplace=True),
        init_cfg: dict | list | None = KAIMING,
    ):
        widths = [self.scale(channels, widen_factor) for channels in self.base_channels]
        super().__init__(widths[1:], (4, 8, 16, 32), out_indices, frozen_stages, with_cp, init_cfg)
        if len(kernel_sizes) != 4:
            raise ValueError(f"{type(self).__name__}: kernel_sizes needs 4 values, got {tuple(kernel_sizes)}")
        self.norm_eval = norm_eval
        self.conv_cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.block_cfg = dict(
            in_expand_ratio=in_expand_ratio,
            mid_expand_ratio=mid_expand_ratio,
            num_layers=int(num_layers * deepen_factor),
            attention_cfg=attention_cfg,
            **self.conv_cfg,
        )
        self.stem = self.build_stem(in_channels, widths[0], widen_factor)
        for i, kernel_size in enumerate(kernel_sizes):
            self.add_module(f"stage{i + 1}", self.build_stage(widths[i], widths[i + 1], kernel_size, last=i == 3))
        self.freeze()

    def conv3x3(self, in_channels: int, out_channels: int, stride: int) -> ConvModule:
        return ConvModule(in_channels, out_channels, 3, stride=stride, padding=1, **self.conv_cfg)

    def ms_block(self, in_channels: int, out_channels: int, kernel_size: int) -> MSBlock:
        return MSBlock(in_channels, out_channels, (1, kernel_size, kernel_size), **self.block_cfg)

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.stem], *([getattr(self, f"stage{i}")] for i in range(1, 5))]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage up to the last of `out_indices`."""
        x, found = self.stem(x), []
        for (stage,) in self.parts()[1 : self.built + 1]:
            x = self.run(stage, x)
            found.append(x)
        return found

    def train(self, mode: bool = True) -> "MSBackbone":
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@MODELS.register_module()
class YOLOMSBackbone(MSBackbone):
    """YOLO-MS: each stage's MSBlock doubles the width; the last stage pools before its block.

    The SPPF has eps 1e-3 and momentum 0.03 in its batch norms whatever `norm_cfg` says, as the published
    checkpoints were trained. Published: (deepen, widen) of (1/3, 0.40) XS, (1/3, 0.54) S, (2/3, 0.80) M.
    Takes the arguments of `MSBackbone`.
    """

    @staticmethod
    def scale(channels: int, widen_factor: float) -> int:
        return int(channels * widen_factor)

    def build_stem(self, in_channels: int, out_channels: int, widen_factor: float) -> nn.Module:
        half = self.scale(self.base_channels[0] // 2, widen_factor)
        return nn.Sequential(
            self.conv3x3(in_channels, half, 2), self.conv3x3(half, half, 1), self.conv3x3(half, out_channels, 1)
        )

    def build_stage(self, in_channels: int, out_channels: int, kernel_size: int, last: bool) -> nn.Module:
        return nn.Sequential(
            self.conv3x3(in_channels, in_channels, 2),
            *([SPPF(in_channels, in_channels)] if last else []),
            self.ms_block(in_channels, out_channels, kernel_size),
        )


@MODELS.register_module()
class YOLOv8MSBackbone(MSBackbone):
    """YOLOv8 with MSBlocks in place of its C2f blocks: each stage's 3x3 doubles the width; SPPF ends the last stage.

    Widths are rounded up to multiples of 8. Published: deepen 1/3, widen 0.15, batch norms with eps 1e-3 and
    momentum 0.03 (N). Takes the arguments of `MSBackbone`.
    """

    @staticmethod
    def scale(channels: int, widen_factor: float) -> int:
        return round_up(channels * widen_factor)

    def build_stem(self, in_channels: int, out_channels: int, widen_factor: float) -> nn.Module:
        return self.conv3x3(in_channels, out_channels, 2)

    def build_stage(self, in_channels: int, out_channels: int, kernel_size: int, last: bool) -> nn.Module:
        return nn.Sequential(
            self.conv3x3(in_channels, out_channels, 2),
            self.ms_block(out_channels, out_channels, kernel_size),
            *([SPPF(out_channels, out_channels, **self.conv_cfg)] if last else []),
        )
