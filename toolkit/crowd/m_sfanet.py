"""M-SFANet: crowd density from a VGG with context at several scales, gated by attention.

Encoder-Decoder Based Convolutional Neural Networks with Multi-Scale-Aware Modules for Crowd Counting, ICPR 2020,
arXiv 2003.05586.

    c2, c3, c4, c5 = VGG(picture) at 1/2, 1/4, 1/8, 1/16
    s, p           = context(c4), ASPP(c5)
    each decoder   : [up p ; s] -> [up ; c3 ; up p] -> [up ; c2]
    density        = conv(sigmoid(attention decoder) * density decoder)

The variant for UCF-QNRF has no norms, no attention and a further branch on c5; its density is an absolute value.
Sides need not be multiples of 16, but the published checkpoints were tested on such (see `ResizeCrowd`).
"""

from collections.abc import Iterable
from functools import partial

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.backbones.vgg import VGG16BN, VGG19
from toolkit.crowd.decoder import Decoder, GatedHead, check_size, output_conv
from toolkit.crowd.tiles import Tile, enlarge_whole, pooled_part, resize_like
from toolkit.modules.attention.context_aware import ContextAwareModule
from toolkit.modules.conv.aspp import ASPP

STRIDE = 2  # pixels of the picture for one cell of the density


class MSFADecoder(Decoder):
    """A decoder that sees the deepest map at two stages.

    Args:
        deep: channels of the deepest map.
        skips: channels at 1/8, 1/4 and 1/2.
    """

    def __init__(self, deep: int, skips: tuple[int, int, int], out_channels: int, norm: bool):
        joined = (deep + skips[0], out_channels + skips[1] + deep, out_channels // 2 + skips[2])
        super().__init__(joined, out_channels, norm)

    def forward(self, deep: Tensor, context: Tensor, quarter: Tensor, half: Tensor, tile: Tile | None) -> Tensor:
        x = self.eighth(resize_like(deep, context, tile), context)
        x = self.quarter(resize_like(x, quarter, tile), quarter, resize_like(deep, quarter, tile))
        return self.half(resize_like(x, half, tile), half)


class MultiScaleAware(nn.Module):
    """A VGG with context on its fourth stage and an ASPP on its fifth; subclasses set `vgg`, `context` and `aspp`."""

    stride = STRIDE

    def gather(self, pieces: "Iterable[tuple[Tensor, Tile]]") -> tuple[Tensor, ...]:
        """The means over a whole picture, from its tiles: what `Tile.means` must hold for `forward`."""
        totals: list[Tensor] | None = None
        for x, tile in pieces:
            *_, eighth, deep = self.vgg(x)
            parts = [pooled_part(eighth, 8, tile, size) for size in self.context.pool_sizes]
            parts.append(pooled_part(deep, 16, tile, 1))
            totals = parts if totals is None else [one + other for one, other in zip(totals, parts, strict=True)]
        return tuple(totals or ())

    def aware(self, eighth: Tensor, deep: Tensor, tile: Tile | None) -> tuple[Tensor, Tensor]:
        """ASPP of the deepest map, and the map at 1/8 with its context."""
        if tile is None:
            return self.aspp(deep), self.context(eighth)
        *means, mean = tile.means
        enlarge = partial(enlarge_whole, like=eighth, stride=8, tile=tile)
        return self.aspp(deep, mean), self.context(eighth, means, enlarge)


@MODELS.register_module()
class MSFANet(MultiScaleAware):
    """M-SFANet with VGG-16 and batch norms, 22.9 M parameters.

    Args:
        widen_factor: times all widths; 1 as published.
        backbone: further arguments of `VGG16BN`, such as `init_cfg`, `frozen_stages`, `with_cp`.
    """

    margin = 448  # pixels to each side that a cell of the output sees

    def __init__(self, widen_factor: float = 1.0, backbone: dict | None = None):
        super().__init__()
        self.vgg = VGG16BN(widen_factor=widen_factor, **(backbone or {}))
        half, quarter, eighth, deep = self.vgg.out_channels
        width = eighth // 2
        self.context = ContextAwareModule(eighth)
        self.aspp = ASPP(deep, width)
        self.amp = MSFADecoder(width, (eighth, quarter, half), width, norm=True)
        self.dmp = MSFADecoder(width, (eighth, quarter, half), width, norm=True)
        self.head = GatedHead(self.dmp.out_channels)

    def forward(self, x: Tensor, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W), ImageNet's mean 0 and deviation 1 -> density and attention, (B, 1, H / 2, W / 2).

        Args:
            x: the pictures, or a piece of each.
            tile: where the pieces lie, with what `gather` gave.
        """
        check_size(x, "MSFANet", 16)
        half, quarter, eighth, deep = self.vgg(x)
        maps = *self.aware(eighth, deep, tile), quarter, half, tile
        return self.head(self.amp(*maps), self.dmp(*maps))


def regression_branch(in_channels: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU on the deepest map: in_channels -> 2 width -> width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 2 * width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(2 * width, width, 3, padding=1),
        nn.ReLU(inplace=True),
    )


@MODELS.register_module()
class MSFANetQNRF(MultiScaleAware):
    """M-SFANet as published for UCF-QNRF: VGG-19 without norms, one decoder, 28.6 M parameters.

    Args:
        widen_factor: times all widths; 1 as published.
        backbone: further arguments of `VGG19`.
    """

    margin = 784

    def __init__(self, widen_factor: float = 1.0, backbone: dict | None = None):
        super().__init__()
        self.vgg = VGG19(widen_factor=widen_factor, **(backbone or {}))
        half, quarter, eighth, deep = self.vgg.out_channels
        width = eighth // 2
        self.context = ContextAwareModule(eighth)
        self.aspp = ASPP(deep, width, dilations=(1, 12, 24, 36), norm_cfg=None)
        self.reg_layer = regression_branch(deep, width // 2)
        self.dmp = MSFADecoder(width + width // 2, (eighth, quarter, half), width, norm=False)
        self.conv_out = output_conv(self.dmp.out_channels)

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """Pictures (B, 3, H, W), ImageNet's mean 0 and deviation 1 -> density (B, 1, H / 2, W / 2), at least 0.

        Args:
            x: the pictures, or a piece of each.
            tile: where the pieces lie, with what `gather` gave.
        """
        check_size(x, "MSFANetQNRF", 16)
        half, quarter, eighth, deep = self.vgg(x)
        pyramid, context = self.aware(eighth, deep, tile)
        regressed = self.reg_layer(resize_like(deep, eighth, tile))
        fused = torch.cat((resize_like(pyramid, eighth, tile), regressed), 1)
        return self.conv_out(self.dmp(fused, context, quarter, half, tile)).abs()
