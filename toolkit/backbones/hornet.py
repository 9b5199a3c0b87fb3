"""HorNet: a ConvNeXt-like pyramid of recursive gated convolutions.

HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions, NeurIPS 2022, arXiv 2207.14284.

    x = x + gamma_1 * gnconv(norm(x)),  x = x + gamma_2 * W_2 gelu(W_1 norm(x))        gnconv: see gnConv
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from toolkit.backbones.base import arch_facts, drop_path_rates
from toolkit.backbones.pyramid import Pyramid
from toolkit.modules.conv.gnconv import GnConv

WIDTHS = {"tiny": 64, "small": 96, "base": 128, "large": 192}
ARCHS = {
    f"{size}_{spatial}": dict(base_dim=width, depths=(2, 3, 18, 2), orders=(2, 3, 4, 5), gf_stages=gf_stages)
    for size, width in WIDTHS.items()
    for spatial, gf_stages in (("7x7", ()), ("gf", (2, 3)))
}
ARCHS |= {size: ARCHS[f"{size}_7x7"] for size in WIDTHS}


class Block(nn.Module):
    """gnConv and a two-layer perceptron, each on a normed copy that joins by a layer scale.

    Args:
        gnconv: the token mixer.
        dim: C of the map.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, gnconv: GnConv, dim: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = LayerNorm2d(dim, eps=1e-6)
        self.gnconv = gnconv
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma1 = nn.Parameter(torch.full((dim,), 1e-6))
        self.gamma2 = nn.Parameter(torch.full((dim,), 1e-6))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        x = x + self.drop_path(self.gamma1[:, None, None] * self.gnconv(self.norm1(x)))
        y = self.norm2(x.permute(0, 2, 3, 1))
        y = self.gamma2 * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + self.drop_path(y.permute(0, 3, 1, 2))


@MODELS.register_module()
class HorNet(Pyramid):
    """HorNet, its maps each with a norm, or its classifier.

    Args:
        arch: `tiny`, `small`, `base` or `large`, with `_7x7` (or nothing) for depthwise convolutions in all stages and
            `_gf` for global filters in the last two; or a dict of `base_dim`, `depths` and `orders` of the stages,
            `gf_stages` (from 0) and, where it is not 1/3, `scale` of gnConv.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        spectrum_sizes: rows and columns of the global filters' maps in each of `gf_stages`. Published classifiers have
            the default at 224 pixels and ((24, 13), (12, 7)) at 384, as detectors do. A checkpoint's maps are resized.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first; published 0.2, 0.4, 0.5 for tiny, small, base.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch, stage or number of spectrum sizes.
    """

    def __init__(
        self,
        arch: str | dict = "tiny_7x7",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        spectrum_sizes: Sequence[Sequence[int]] = ((14, 8), (7, 4)),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("HorNet", ARCHS, arch)
        gf_stages = tuple(facts.get("gf_stages", ()))
        if gf_stages and len(spectrum_sizes) != len(gf_stages):
            raise ValueError(f"HorNet: spectrum_sizes must be {len(gf_stages)} pairs, got {spectrum_sizes}")
        dims = [facts["base_dim"] * 2**i for i in range(len(facts["depths"]))]
        sizes = dict(zip(gf_stages, spectrum_sizes, strict=False))
        layers = []
        for i, rates in enumerate(drop_path_rates(drop_path_rate, facts["depths"])):
            dim, scale = dims[i], facts.get("scale", 1 / 3)
            if i == 0:
                down = nn.Sequential(nn.Conv2d(in_channels, dim, 4, 4), LayerNorm2d(dim, eps=1e-6))
            else:
                down = nn.Sequential(LayerNorm2d(dims[i - 1], eps=1e-6), nn.Conv2d(dims[i - 1], dim, 2, 2))
            blocks = [Block(GnConv(dim, facts["orders"][i], scale, sizes.get(i)), dim, rate) for rate in rates]
            layers.append((down, blocks))
        super().__init__(dims, layers, out_indices, num_classes, frozen_stages, with_cp, init_cfg)
