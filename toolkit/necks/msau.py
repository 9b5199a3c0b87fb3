"""MSAU: bring modulated maps back onto an even grid, and let dense and sparse samples refine each other.

Multi-scale adaptive upsampling of Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025,
arXiv 2507.11893.

    y = f(S(p))                                                       (non-uniform upsampling)
    z = y + sum over d of O_d (sum over n of w_dn(p) v(p + d n) - v)   (relations at the dilations d)

w_d(p) is a softmax over the 3x3 neighbours n of how alike q(p) and k(p + d n) are, plus a learned multiple of how much
more densely the neighbour was sampled; q, k and v are linear in y and have few channels. That dense and sparse areas
exchange at several scales is the paper's; the form of the exchange is this project's. The matrices O begin at 0, so
that the neck begins as plain demodulation. A map that was not modulated has neither and passes.
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
        key_channels: of what is compared and exchanged.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 4), key_channels: int = 16):
        super().__init__()
        self.dilations = tuple(dilations)
        self.project = nn.Conv2d(channels, 3 * key_channels, 1)  # queries, keys, values
        self.preference = nn.Parameter(torch.zeros(len(self.dilations)))
        self.output = nn.Conv2d(len(self.dilations) * key_channels, channels, 1, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, y: Tensor, log_density: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, H, W) -> (B, C, H, W)."""
        query, key, value = self.project(y).chunk(3, 1)
        query = query * query.shape[1] ** -0.5
        exchanged = []
        for dilation, preference in zip(self.dilations, self.preference, strict=True):
            denser = neighbours(log_density.to(y.dtype), dilation) - log_density.to(y.dtype).unsqueeze(1)
            alike = (query.unsqueeze(1) * neighbours(key, dilation)).sum(2, keepdim=True)
            weights = (alike + preference * denser).softmax(1)  # (B, 9, 1, H, W)
            exchanged.append((weights * neighbours(value, dilation)).sum(1) - value)
        return y + self.output(torch.cat(exchanged, 1))


def neighbours(x: Tensor, dilation: int) -> Tensor:
    """(B, C, H, W) -> (B, 9, C, H, W): `x` moved by -dilation, 0 or dilation along each axis, its borders repeated."""
    height, width = x.shape[2:]
    padded = F.pad(x, (dilation,) * 4, mode="replicate")
    steps = (0, dilation, 2 * dilation)
    return torch.stack([padded[..., dy : dy + height, dx : dx + width] for dy in steps for dx in steps], 1)


@MODELS.register_module()
class MSAU(BaseModule):
    """Demodulate the maps of an `SFMBackbone`; each keeps its channels.

    Args:
        in_channels: of each map.
        scale_factors: size of each result over its map's: areas that were sampled densely hold more than an even grid
            of the map's own size can take. 1 for all by default.
        unmodulated: so many of the first maps have no resampling on their way and pass as they are.
        init_cfg: as in mmengine.

    Raises:
        ValueError: the maps are not from an `SFMBackbone`, or not as many as `in_channels`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        scale_factors: Sequence[int] | None = None,
        unmodulated: int = 0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.scale_factors = tuple(scale_factors or [1] * len(in_channels))
        if len(self.scale_factors) != len(in_channels):
            raise ValueError(f"MSAU: {len(self.scale_factors)} scale_factors for {len(in_channels)} in_channels")
        self.relations = nn.ModuleList(
            nn.Identity() if number < unmodulated else DensityRelation(channels)
            for number, channels in enumerate(in_channels)
        )

    def forward(self, features: Modulated) -> tuple[Tensor, ...]:
        """Maps on even grids, in the order of `in_channels`."""
        if not isinstance(features, Modulated):
            raise ValueError("MSAU: takes the maps of an SFMBackbone, which say how they were modulated")
        if len(features) != len(self.relations):
            raise ValueError(f"MSAU: {len(features)} maps for {len(self.relations)} in_channels")
        plain = [s is None for s in features.maps]
        if plain != [isinstance(relation, nn.Identity) for relation in self.relations]:
            raise ValueError(f"MSAU: unmodulated must be {sum(plain)}, the maps that came without resampling")
        return tuple(map(self._restore, features, features.maps, self.scale_factors, self.relations))

    def _restore(self, x: Tensor, s: Tensor | None, factor: int, relation: nn.Module) -> Tensor:
        size = (factor * x.shape[2], factor * x.shape[3])
        if s is None:
            return F.interpolate(x, size=size, mode="bilinear", align_corners=False) if factor > 1 else x
        y = demodulate(x, s, size)
        log_density = F.adaptive_avg_pool2d(stretching(s).clamp(min=1e-6).log(), size)
        return relation(y, log_density)
