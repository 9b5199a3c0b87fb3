"""LSNet: a light pyramid that looks at large neighbourhoods and mixes small ones.

LSNet: See Large, Focus Small, CVPR 2025, arXiv 2503.23135.

    x = ffn(mixer(x))        mixer, block after block: se(dw_3x3 and dw_1x1 and x), LSConv
    ffn(x) = x + bn(W_2 relu(bn(W_1 x)))        in stage 4 attention with a learned bias by distance for LSConv
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath, SqueezeExcite
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates
from toolkit.modules.conv.dilated_reparam import folded, with_weights
from toolkit.modules.conv.lsconv import ConvNorm, LSConv

ARCHS = {
    "t": dict(embed_dim=(64, 128, 256, 384), depth=(0, 2, 8, 10)),
    "s": dict(embed_dim=(96, 192, 320, 448), depth=(1, 2, 8, 10)),
    "b": dict(embed_dim=(128, 256, 384, 512), depth=(4, 6, 8, 10)),
}
CLASSIFIER_GRID, DENSE_GRID = 4, 14


class RepDWConv(nn.Module):
    """A depthwise 3x3 and a depthwise 1x1 convolution, each with a norm, and the input.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv: nn.Module = ConvNorm(channels, channels, 3, groups=channels)
        self.conv1: ConvNorm | None = ConvNorm(channels, channels, 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self.conv(x) if self.conv1 is None else self.conv(x) + self.conv1(x) + x

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Leave one depthwise convolution with a bias."""
        if self.conv1 is None:
            return
        (weight, bias), (centre, shift) = (folded(branch.c, branch.bn) for branch in (self.conv, self.conv1))
        weight = weight + F.pad(centre + 1, (1, 1, 1, 1))
        self.conv, self.conv1 = with_weights(self.conv.c, weight, bias + shift), None


class Attention(nn.Module):
    """Attention over all positions with a bias by their distances. The input is not added.

    The bias, heads by N by N, is that of a square grid of N positions; for a map of n other positions it is resized
    bicubically to n by n as if it were a picture, as published detectors do. A checkpoint's table is resized too.

    Args:
        channels: C of the map, divisible by `heads`.
        heads: number of heads.
        key_dim: channels of a query and a key.
        grid: side of the square grid.
    """

    def __init__(self, channels: int, heads: int, key_dim: int, grid: int):
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"LSNet: embed_dim of the last stage must be divisible by its heads {heads}, got {channels}"
            )
        self.heads, self.widths, self.grid = heads, (heads * key_dim, heads * key_dim, channels), grid
        self.qkv = ConvNorm(channels, sum(self.widths))
        self.dw = ConvNorm(heads * key_dim, heads * key_dim, 3, groups=heads * key_dim)
        self.proj = ConvNorm(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, grid**2))  # by |dy| * grid + |dx|
        self._last: tuple[tuple, Tensor] | None = None  # of inference: what the bias depends on, and the bias

    def bias(self, positions: int) -> Tensor:  # -> (heads, positions, positions)
        table = self.attention_biases
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or table.is_inference():
            return self._bias(positions)
        key = (positions, table.data_ptr(), table._version, table.dtype)
        if self._last is None or self._last[0] != key:
            self._last = key, self._bias(positions)
        return self._last[1]

    def _bias(self, positions: int) -> Tensor:
        places = torch.arange(self.grid, device=self.attention_biases.device)
        distance = (places[:, None] - places).abs()
        index = distance[:, None, :, None] * self.grid + distance[None, :, None, :]  # (y, x, y', x')
        bias = self.attention_biases[:, index.flatten(0, 1).flatten(1)]
        if positions == self.grid**2:
            return bias
        return F.interpolate(bias[None], size=(positions, positions), mode="bicubic")[0]

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        q, k, v = self.qkv(x).split(self.widths, 1)
        q, k, v = (part.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3) for part in (self.dw(q), k, v))
        out = F.scaled_dot_product_attention(q, k, v, self.bias(q.shape[2]).to(q.dtype))  # (B, heads, H * W, C / heads)
        return self.proj(out.transpose(2, 3).reshape(x.shape).relu_())

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = f"{prefix}attention_biases"
        if key in state_dict:
            state_dict[key] = resized_table(state_dict[key], self.grid)
        super()._load_from_state_dict(state_dict, prefix, *args)


def resized_table(table: Tensor, grid: int) -> Tensor:
    """A table of biases, (heads, side * side), for another grid, (heads, grid * grid)."""
    side = round(table.shape[1] ** 0.5)
    if side in (grid, 0) or side**2 != table.shape[1]:
        return table
    picture = table.unflatten(1, (side, side))[None]
    return F.interpolate(picture, size=(grid, grid), mode="bicubic")[0].flatten(1)


class FFN(nn.Module):
    """Two 1x1 convolutions with twice the channels between.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.pw1 = ConvNorm(channels, 2 * channels)
        self.pw2 = ConvNorm(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self.pw2(self.pw1(x).relu_())


class Block(nn.Module):
    """A token mixer, for some squeeze and excitation, and a perceptron.

    Args:
        mixer: RepDWConv, LSConv or Attention; to that of attention the input is added here.
        channels: C of the map.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, mixer: nn.Module, channels: int, drop_path: float = 0.0):
        super().__init__()
        self.mixer = mixer
        self.se = SqueezeExcite(channels, rd_ratio=0.25) if isinstance(mixer, RepDWConv) else nn.Identity()
        self.ffn = FFN(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        y = self.mixer(x)
        x = x + self.drop_path(y) if isinstance(self.mixer, Attention) else self.se(y)
        return x + self.drop_path(self.ffn(x))


class Head(nn.Module):
    """A batch norm and a linear layer.

    Args:
        channels: of the pooled map.
        num_classes: number of logits.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.l = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, C) -> (B, num_classes)
        return self.l(self.bn(x))


@MODELS.register_module()
class LSNet(Backbone):
    """LSNet, its bare maps at strides 8, 16, 32, 64, or its classifier.

    Args:
        arch: `t`, `s` or `b`; or a dict of `embed_dim` and `depth` of the four stages and, where they are not 4 and
            16, `heads` and `key_dim` of the attention.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        distillation: the classifier has a second head, as in published distilled checkpoints. Both are averaged in
            evaluation and given as a pair in training.
        grid: side of the map for which the attention's biases are stored. None for the published ones: 4 of
            classifiers, whose pictures have 224 pixels, 14 of detectors. Any size of picture works with either.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or stage.
    """

    def __init__(
        self,
        arch: str | dict = "t",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        distillation: bool = False,
        grid: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("LSNet", ARCHS, arch)
        dims = facts["embed_dim"]
        super().__init__(dims, (8, 16, 32, 64), out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        grid = grid or (DENSE_GRID if num_classes is None else CLASSIFIER_GRID)
        attention = dict(heads=facts.get("heads", 4), key_dim=facts.get("key_dim", 16), grid=grid)
        widths = (in_channels, dims[0] // 4, dims[0] // 2, dims[0])
        stem = [ConvNorm(few, many, 3, 2) for few, many in pairwise(widths)]
        self.patch_embed = nn.Sequential(stem[0], nn.ReLU(), stem[1], nn.ReLU(), stem[2])
        self.stages = nn.ModuleList()
        for i, rates in enumerate(drop_path_rates(drop_path_rate, facts["depth"])[: self.built]):
            before, dim, layers = dims[i - 1], dims[i], []
            if i:
                layers = [ConvNorm(before, before, 3, 2, groups=before), ConvNorm(before, dim)]
            for j, rate in enumerate(rates):
                looking = LSConv if i < 3 else lambda dim: Attention(dim, **attention)
                layers.append(Block(looking(dim) if j % 2 else RepDWConv(dim), dim, rate))
            self.stages.append(nn.Sequential(*layers))
        if num_classes is not None:
            self.head = Head(dims[-1], num_classes)
            self.head_dist = Head(dims[-1], num_classes) if distillation else None
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.patch_embed], *([stage] for stage in self.stages)]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        x, found = self.patch_embed(x), []
        for stage in self.stages:
            x = self.run_each(stage, x)
            found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # (B, C, H, W), the last map, -> (B, num_classes)
        x = x.mean((2, 3))
        if self.head_dist is None:
            return self.head(x)
        both = self.head(x), self.head_dist(x)
        return both if self.training else (both[0] + both[1]) / 2
