"""M-SegNet: crowd density from a VGG whose decoders put maxima back where they came from.

Encoder-Decoder Based Convolutional Neural Networks with Multi-Scale-Aware Modules for Crowd Counting, ICPR 2020,
arXiv 2003.05586.

    p1, p2, p3, p4 = VGG(picture), each stage halved by maxima whose places i1 ... i4 are kept
    each decoder   : [unpool(p4, i4) ; p3] -> [unpool(i3) ; p2] -> [unpool(i2) ; p1]
    density        = conv(sigmoid(attention decoder) * density decoder)

It has neither the context module nor the ASPP of M-SFANet, so no cell sees farther than its receptive field. The
variant for UCF-QNRF has no norms, no attention and a branch on the fifth stage; its density is an absolute value.
Sides may have any size from 16 pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.backbones.vgg import VGG16BN, VGG19
from toolkit.crowd.decoder import Decoder, GatedHead, check_size, output_conv
from toolkit.crowd.m_sfanet import regression_branch
from toolkit.crowd.tiles import Tile, resize_like

STRIDE = 2  # pixels of the picture for one cell of the density


def unpool(x: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Each value of `x` at its place in a map of the height and width of `like`, zero elsewhere."""
    return F.max_unpool2d(x, places, 2, output_size=like.shape[2:])


class MSegDecoder(Decoder):
    """A decoder that unpools.

    Args:
        extra: channels that are joined at the first stage besides the unpooled and the skipped map.
        widths: channels of the four pooled maps.
    """

    def __init__(self, extra: int, widths: Sequence[int], norm: bool):
        p1, p2, p3, p4 = widths
        super().__init__((extra + p4 + p3, p3 + p2, p2 + p1), p3, norm)

    def forward(self, maps: list[Tensor], places: list[Tensor], *extra: Tensor) -> Tensor:
        p1, p2, p3, p4 = maps
        x = self.eighth(*extra, unpool(p4, places[3], p3), p3)
        x = self.quarter(unpool(x, places[2], p2), p2)
        return self.half(unpool(x, places[1], p1), p1)


@MODELS.register_module()
class MSegNet(nn.Module):
    """M-SegNet with the first ten convolutions of VGG-16 and batch norms, 9.7 M parameters.

    Args:
        widen_factor: times all widths; 1 as published.
        backbone: further arguments of `VGG16BN`, such as `init_cfg`, `frozen_stages`, `with_cp`.
    """

    stride = STRIDE
    margin = 112  # pixels to each side that a cell of the output sees

    def __init__(self, widen_factor: float = 1.0, backbone: dict | None = None):
        super().__init__()
        self.vgg = VGG16BN(widen_factor=widen_factor, out_indices=(0, 1, 2, 3), **(backbone or {}))
        self.amp = MSegDecoder(0, self.vgg.out_channels, norm=True)
        self.dmp = MSegDecoder(0, self.vgg.out_channels, norm=True)
        self.head = GatedHead(self.dmp.out_channels)

    def forward(self, x: Tensor, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W), ImageNet's mean 0 and deviation 1 -> density and attention, (B, 1, H / 2, W / 2).

        A piece of a picture gives the same wherever it lies: `tile` changes nothing.
        """
        check_size(x, "MSegNet", 16)
        maps, places = self.vgg.pooled(x, 4)
        return self.head(self.amp(maps, places), self.dmp(maps, places))


@MODELS.register_module()
class MSegNetQNRF(nn.Module):
    """M-SegNet as published for UCF-QNRF: VGG-19 without norms, one decoder, 22.6 M parameters.

    Args:
        widen_factor: times all widths; 1 as published.
        backbone: further arguments of `VGG19`.
    """

    stride = STRIDE
    margin = 224

    def __init__(self, widen_factor: float = 1.0, backbone: dict | None = None):
        super().__init__()
        self.vgg = VGG19(widen_factor=widen_factor, out_indices=(0, 1, 2, 3, 4), **(backbone or {}))
        *widths, deep = self.vgg.out_channels
        self.reg_layer = regression_branch(deep, deep // 4)
        self.dmp = MSegDecoder(deep // 4, widths, norm=False)
        self.conv_out = output_conv(self.dmp.out_channels)

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """Pictures (B, 3, H, W), ImageNet's mean 0 and deviation 1 -> density (B, 1, H / 2, W / 2), at least 0.

        Args:
            x: the pictures, or a piece of each.
            tile: where the pieces lie.
        """
        check_size(x, "MSegNetQNRF", 16)
        maps, places = self.vgg.pooled(x, 4)
        deep = self.vgg.run_stage(4, maps[3])
        regressed = self.reg_layer(resize_like(deep, maps[2], tile))
        return self.conv_out(self.dmp(maps, places, regressed)).abs()
