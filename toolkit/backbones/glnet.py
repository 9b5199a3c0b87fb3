"""GLNet: convolutions for what is near, attention among a few slots for the whole map, side by side.

Revisiting the Integration of Convolution and Attention for Vision Backbone, NeurIPS 2024, arXiv 2411.14429.

    GLMix(x) = softmax over slots of A^T mha(softmax over positions of A y) + conv(y),    y = norm(x),
    A = s * cosine(slots, y),    slots = x averaged in 8 x 8 cells
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

PYRAMID = dict(
    depth=(4, 4, 18, 4),
    mlp_ratios=(3, 3, 3, 3),
    mixing_modes=("glmix", "glmix", "glmix.mha_nchw", "mha_nchw"),
    downsample_style="ovlp",
    cpe_ks=3,
    mlp_dw=True,
)
SWIN = dict(
    embed_dim=(96, 192, 384, 768),
    depth=(2, 2, 6, 2),
    mlp_ratios=(4, 4, 4, 4),
    mixing_modes=("glmix", "glmix", "glmix", "mha"),
)
ARCHS = {
    "stl": SWIN,
    "stl_paramslot": dict(SWIN, slot_init="param"),
    "4g": dict(PYRAMID, embed_dim=(64, 128, 256, 512)),
    "9g": dict(PYRAMID, embed_dim=(96, 192, 384, 768)),
    "16g": dict(PYRAMID, embed_dim=(128, 256, 512, 1024), layerscale=1e-4),
}
DEFAULTS = dict(
    head_dim=32, local_dw_ks=5, slot_init="ada_avgpool", num_slots=64, downsample_style="non_ovlp", cpe_ks=0,
    mlp_dw=False, layerscale=-1.0,
)  # fmt: skip
MODES = {"glmix": ("glmix",), "glmix.mha_nchw": ("glmix", "mha_nchw"), "mha_nchw": ("mha_nchw",), "mha": ("mha",)}


class LayerScale(nn.Module):
    """A learned factor for each channel, beginning at `value`."""

    def __init__(self, shape: tuple[int, ...], value: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, value))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class ResidualDWConv(nn.Conv2d):
    """A depthwise 3x3 convolution with its input added."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x + super().forward(x)


class Block(nn.Module):
    """What lies around the mixer of a block on maps: an optional depthwise convolution before, a perceptron behind.

    Args:
        channels: C of the map.
        mlp_ratio: channels between in the perceptron, divided by C.
        facts: of the arch: `cpe_ks`, `mlp_dw`, `layerscale`.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, channels: int, mlp_ratio: float, facts: dict, drop_path: float):
        super().__init__()
        hidden, kernel, scale = int(channels * mlp_ratio), facts["cpe_ks"], facts["layerscale"]
        self.pos_conv = (
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels) if kernel > 0 else None
        )
        self.norm2 = LayerNorm2d(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            ResidualDWConv(hidden) if facts["mlp_dw"] else nn.Identity(),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )
        self.ls1 = LayerScale((1, channels, 1, 1), scale) if scale > 0 else nn.Identity()
        self.ls2 = LayerScale((1, channels, 1, 1), scale) if scale > 0 else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def placed(self, x: Tensor) -> Tensor:
        """The map (B, C, H, W) that the mixer is given."""
        return x if self.pos_conv is None else x + self.pos_conv(x)

    def joined(self, x: Tensor, mixed: Tensor) -> Tensor:
        """What the block gives (B, C, H, W), from the mixer's input and its output."""
        x = x + self.drop_path(self.ls1(mixed))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class GLMixBlock(Block):
    """GLMix and a perceptron.

    Args:
        channels, mlp_ratio, facts, drop_path: see `Block`; also facts `head_dim`, `local_dw_ks`, `num_slots` and
            `slot_init`: `ada_avgpool` for slots that begin as means of cells of the map, `param` for learned ones.
    """

    def __init__(self, channels: int, mlp_ratio: float, facts: dict, drop_path: float):
        super().__init__(channels, mlp_ratio, facts, drop_path)
        slots, kernel = facts["num_slots"], facts["local_dw_ks"]
        self.side = math.isqrt(slots)
        if facts["slot_init"] == "param":
            self.init_slots = nn.Parameter(0.02 * torch.randn(1, slots, channels))
        else:
            self.init_slots = None
        self.slot_scale = nn.Parameter(torch.tensor(channels**-0.5))
        self.norm1 = LayerNorm2d(channels)
        self.relation_mha = nn.MultiheadAttention(channels, channels // facts["head_dim"], batch_first=True)
        self.feature_conv = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        placed = self.placed(x)
        return self.joined(placed, self.mixed(placed, x))

    def mixed(self, x: Tensor, before: Tensor) -> Tensor:
        """GLMix of `x`, with slots from `before`, the map that the block was given; (B, C, H, W) all."""
        y = self.norm1(x)
        tokens = y.flatten(2)  # (B, C, N)
        if self.init_slots is None:
            slots = F.adaptive_avg_pool2d(before, self.side).flatten(2).transpose(1, 2)  # (B, slots, C)
        else:
            slots = self.init_slots.expand(len(x), -1, -1)
        logits = F.normalize(slots, dim=2) @ (self.slot_scale * F.normalize(tokens, dim=1))  # (B, slots, N)
        slots = logits.softmax(2) @ tokens.transpose(1, 2)
        slots = self.relation_mha(slots, slots, slots, need_weights=False)[0]
        spread = slots.transpose(1, 2) @ logits.softmax(1)  # (B, C, N)
        return spread.view_as(y) + self.feature_conv(y)


class AttentionBlock(Block):
    """Attention among all positions and a perceptron.

    Args:
        channels, mlp_ratio, facts, drop_path: see `Block`; also the fact `head_dim`.
    """

    def __init__(self, channels: int, mlp_ratio: float, facts: dict, drop_path: float):
        super().__init__(channels, mlp_ratio, facts, drop_path)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mha_op = nn.MultiheadAttention(channels, channels // facts["head_dim"], batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        x = self.placed(x)
        tokens = self.norm1(x.flatten(2).transpose(1, 2))
        mixed = self.mha_op(tokens, tokens, tokens, need_weights=False)[0]
        return self.joined(x, mixed.transpose(1, 2).reshape(x.shape))


class TokenBlock(nn.Module):
    """A block of a plain vision transformer, on a map.

    Args:
        channels, mlp_ratio, facts, drop_path: see `Block`; of the facts `head_dim` and `layerscale`.
    """

    def __init__(self, channels: int, mlp_ratio: float, facts: dict, drop_path: float):
        super().__init__()
        hidden, scale = int(channels * mlp_ratio), facts["layerscale"]
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mha_op = nn.MultiheadAttention(channels, channels // facts["head_dim"], batch_first=True)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.ls1 = LayerScale((channels,), scale) if scale > 0 else nn.Identity()
        self.ls2 = LayerScale((channels,), scale) if scale > 0 else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm1(tokens)
        tokens = tokens + self.drop_path(self.ls1(self.mha_op(normed, normed, normed, need_weights=False)[0]))
        tokens = tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))
        return tokens.transpose(1, 2).reshape(x.shape)


BLOCKS = {"glmix": GLMixBlock, "mha_nchw": AttentionBlock, "mha": TokenBlock}


class Stage(nn.Module):
    """Blocks one after the other; the backbone calls them."""

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


def downsampling(style: str, in_channels: int, dims: Sequence[int]) -> list[nn.Sequential]:
    """The layer before each stage, in one of both published styles."""

    def conv(before: int, after: int) -> nn.Conv2d:
        return nn.Conv2d(before, after, 3, 2, 1)

    pairs = list(itertools.pairwise(dims))
    if style == "ovlp":
        half = dims[0] // 2
        stem = (nn.Identity(), conv(in_channels, half), nn.BatchNorm2d(half), nn.GELU(), conv(half, dims[0]),
                nn.BatchNorm2d(dims[0]))  # fmt: skip
        return [nn.Sequential(*stem), *(nn.Sequential(conv(*pair), nn.BatchNorm2d(pair[1])) for pair in pairs)]
    stem = (nn.Conv2d(in_channels, dims[0], 4, 4), nn.BatchNorm2d(dims[0]))
    return [
        nn.Sequential(*stem),
        *(nn.Sequential(nn.BatchNorm2d(pair[0]), nn.Conv2d(*pair, 2, 2)) for pair in pairs),
    ]


def checked(arch: str | dict) -> dict:
    """All facts of an arch.

    Raises:
        ValueError: there is no such arch, or a fact has a value that GLNet does not have.
    """
    facts = DEFAULTS | arch_facts("GLNet", ARCHS, arch)
    choices = dict(slot_init=("ada_avgpool", "param"), downsample_style=("ovlp", "non_ovlp"))
    for name, allowed in choices.items():
        if facts[name] not in allowed:
            raise ValueError(f"GLNet: {name} must be among {', '.join(allowed)}, got {facts[name]!r}")
    for mode in facts["mixing_modes"]:
        if mode not in MODES:
            raise ValueError(f"GLNet: mixing_modes must be among {', '.join(MODES)}, got {mode!r}")
    if any(dim % facts["head_dim"] for dim in facts["embed_dim"]):
        raise ValueError(
            f"GLNet: embed_dim must be divisible by head_dim {facts['head_dim']}, got {facts['embed_dim']}"
        )
    if facts["slot_init"] == "ada_avgpool" and math.isqrt(facts["num_slots"]) ** 2 != facts["num_slots"]:
        raise ValueError(f"GLNet: num_slots must be a square for slot_init ada_avgpool, got {facts['num_slots']}")
    return facts


@MODELS.register_module()
class GLNet(Backbone):
    """GLNet, its bare maps at strides 4, 8, 16, 32, or its classifier.

    Args:
        arch: `stl` (Swin-T's layout), `stl_paramslot`, `4g`, `9g`, `16g`; or a dict of `embed_dim`, `depth`,
            `mlp_ratios` and `mixing_modes` of the stages and of what differs from `DEFAULTS`. A mode is `glmix`,
            `mha_nchw` (attention on maps), `glmix.mha_nchw` (by turns) or `mha` (a plain transformer).
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or stage, or a fact of the arch does not fit.
    """

    def __init__(
        self,
        arch: str | dict = "4g",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = checked(arch)
        dims = facts["embed_dim"]
        strides = [4 * 2**i for i in range(len(dims))]
        super().__init__(dims, strides, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        self.downsample_layers = nn.ModuleList(downsampling(facts["downsample_style"], in_channels, dims)[: self.built])
        self.stages = nn.ModuleList()
        for i, rates in enumerate(drop_path_rates(drop_path_rate, facts["depth"])[: self.built]):
            kinds = MODES[facts["mixing_modes"][i]]
            self.stages.append(
                Stage(
                    BLOCKS[kinds[j % len(kinds)]](dims[i], facts["mlp_ratios"][i], facts, rate)
                    for j, rate in enumerate(rates)
                )
            )
        if num_classes is not None:
            self.norm = nn.BatchNorm2d(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        stem, *downs = self.downsample_layers
        first, *others = self.stages
        return [[stem], [first], *([down, stage] for down, stage in zip(downs, others, strict=True))]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        found = []
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = self.run_each(stage.blocks, down(x))
            found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.head(self.norm(x).mean((2, 3)))
