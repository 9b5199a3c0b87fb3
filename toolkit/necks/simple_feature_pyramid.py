"""SimpleFeaturePyramid: several strides from the one map of a plain vision transformer.

Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022, arXiv 2203.16527.

    y_i = norm(conv3x3(norm(conv1x1(resize_i(x)))))    resize: transposed convolutions up, max pooling down
"""

import math
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """A pyramid without lateral connections from the last of the maps given.

    Args:
        in_channels: C of the map; of several, as other necks have it, the last counts.
        out_channels: channels of every level.
        scales: size of each level relative to the map, powers of 2; 4 to 1/2 make strides 4 to 32 of stride 16.
        num_outs: levels; those beyond `scales` are every second place of the one before.
        init_cfg: as mmengine's.

    Raises:
        ValueError: a scale is no power of 2 or above 4, or `num_outs` is less than the scales.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if num_outs < len(scales):
            raise ValueError(f"SimpleFeaturePyramid: num_outs must be {len(scales)} or more, got {num_outs}")
        channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        self.extra = num_outs - len(scales)
        self.levels = nn.ModuleList(_level(channels, out_channels, scale) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:  # (B, C, H, W) last -> (B, out, H s_i, W s_i) each
        outs = [level(maps[-1]) for level in self.levels]
        for _ in range(self.extra):
            outs.append(F.max_pool2d(outs[-1], 1, 2))
        return tuple(outs)


def _level(channels: int, out_channels: int, scale: float) -> nn.Sequential:
    power = math.log2(scale)
    if not power.is_integer() or power > 2:
        raise ValueError(f"SimpleFeaturePyramid: scales must be powers of 2 up to 4, got {scale}")
    layers: list[nn.Module] = []
    if power < 0:
        layers.append(nn.MaxPool2d(2 ** int(-power), ceil_mode=True))
    for step in range(int(max(power, 0))):
        if step:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, 2))
        channels //= 2
    return nn.Sequential(
        *layers,
        nn.Conv2d(channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )
