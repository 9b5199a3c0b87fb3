"""MSAU: bring modulated maps back onto an even grid, and let dense and sparse samples refine each other.

Multi-scale adaptive upsampling of Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025,
arXiv 2507.11893.

    y = f(S(p))                                                       (non-uniform upsampling)
    z = y + sum over d of g_d (sum over n of w_dn(p) y(p + d n) - y)   (relations at the dilations d)

w_d(p) is a softmax over the 3x3 neighbours n of how alike q(p) and k(p + d n) are, plus a learned multiple of how much
more densely the neighbour was sampled. That dense and sparse areas exchange at several scales is the paper's; the form
of the exchange is this project's. The gates g begin at 0, so that the neck begins as plain demodulation.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.modules.sampling.sfm import Modulated, demodulate, stretching


class DensityRelation(nn.Module):
    """Each place looks at its neighbours at several distances, those that were sampled densely with more weight.

    Args:
        channels: C of the map.
        dilations: distances of the 3x3 neighbours.
        key_channels: of what is compared.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 4), key_channels: int = 16):
        super().__init__()
        self.dilations = tuple(dilations)
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.preference = nn.Parameter(torch.zeros(len(self.dilations)))
        self.gate = nn.Parameter(torch.zeros(len(self.dilations), channels))

    def forward(self, y: Tensor, log_density: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, H, W) -> (B, C, H, W)."""
        query, key = self.query(y) * self.query.out_channels**-0.5, self.key(y)
        log_density = log_density.to(y.dtype)
        result = y
        for number, dilation in enumerate(self.dilations):
            keys, values = (neighbours(part, dilation) for part in (key, y))
            denser = torch.stack(neighbours(log_density, dilation)) - log_density
            alike = torch.stack([(query * part).sum(1, keepdim=True) for part in keys])
            weights = (alike + self.preference[number] * denser).softmax(0)  # (9, B, 1, H, W)
            mixed = sum(weight * value for weight, value in zip(weights, values, strict=True))
            result = result + self.gate[number][:, None, None] * (mixed - y)
        return result


def neighbours(x: Tensor, dilation: int) -> list[Tensor]:
    """The nine maps that are `x` moved by -dilation, 0 or dilation along each axis, its borders repeated."""
    height, width = x.shape[2:]
    padded = F.pad(x, (dilation,) * 4, mode="replicate")
    steps = (0, dilation, 2 * dilation)
    return [padded[..., dy : dy + height, dx : dx + width] for dy in steps for dx in steps]


@MODELS.register_module()
class MSAU(BaseModule):
    """Demodulate the maps of an `SFMBackbone`; each keeps its channels.

    Args:
        in_channels: of each map.
        scale_factors: size of each result over its map's: areas that were sampled densely hold more than an even grid
            of the map's own size can take. 1 for all by default.
        dilations: distances at which samples are related; none for plain demodulation.
        init_cfg: as in mmengine.

    Raises:
        ValueError: the maps are not from an `SFMBackbone`, or not as many as `in_channels`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        scale_factors: Sequence[int] | None = None,
        dilations: Sequence[int] = (1, 2, 4),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.scale_factors = tuple(scale_factors or [1] * len(in_channels))
        if len(self.scale_factors) != len(in_channels):
            raise ValueError(f"MSAU: {len(self.scale_factors)} scale_factors for {len(in_channels)} in_channels")
        self.relations = nn.ModuleList(DensityRelation(channels, dilations) for channels in in_channels)

    def forward(self, features: Modulated) -> tuple[Tensor, ...]:
        """Maps on even grids, in the order of `in_channels`."""
        if not isinstance(features, Modulated):
            raise ValueError("MSAU: takes the maps of an SFMBackbone, which say how they were modulated")
        if len(features) != len(self.relations):
            raise ValueError(f"MSAU: {len(features)} maps for {len(self.relations)} in_channels")
        return tuple(map(self._restore, features, features.maps, self.scale_factors, self.relations))

    def _restore(self, x: Tensor, s: Tensor | None, factor: int, relation: DensityRelation) -> Tensor:
        size = (factor * x.shape[2], factor * x.shape[3])
        if s is None:
            y = F.interpolate(x, size=size, mode="bilinear", align_corners=False) if factor > 1 else x
            return relation(y, y.new_zeros(y.shape[0], 1, *size))
        y = demodulate(x, s, size)
        log_density = F.adaptive_avg_pool2d(stretching(s).clamp(min=1e-6).log(), size)
        return relation(y, log_density)
