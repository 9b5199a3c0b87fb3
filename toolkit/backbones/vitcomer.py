"""ViT-CoMer: a plain vision transformer beside a convolutional pyramid; both exchange features after every few blocks.

ViT-CoMer: Vision Transformer with Convolutional Multi-scale Feature Interaction for Dense Predictions, CVPR 2024,
arXiv 2403.07392.

    c = fc(gelu(gelu(bn(dw_3x3 and dw_5x5 of fc c))))        tokens of three levels, at strides 8, 16, 32
    c_16 += x;    a = deform(norm(c), norm(c));    x += gamma * (sum over levels of a + ffn(norm(a)), resized to x)
    x = blocks(x);    c_16 += x;    c = norm(c) + deform(norm(norm(c)), norm(norm(c)));    c += ffn(norm(c))
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmengine.registry import MODELS
from timm.layers import Attention, DropPath, Mlp, PatchEmbed, trunc_normal_
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

ARCHS = {
    "tiny": dict(embed_dim=192, num_heads=3),
    "small": dict(embed_dim=384, num_heads=6),
    "base": dict(embed_dim=768, num_heads=12, deform_num_heads=12, deform_ratio=0.5),
    "large": dict(
        embed_dim=1024, num_heads=16, depth=24, deform_num_heads=16, deform_ratio=0.5,
        interaction_indexes=((0, 5), (6, 11), (12, 17), (18, 23)),
    ),
}  # fmt: skip
DEFAULTS = dict(
    depth=12, mlp_ratio=4, conv_inplane=64, n_points=4, deform_num_heads=6, cffn_ratio=0.25, deform_ratio=1.0,
    interaction_indexes=((0, 2), (3, 5), (6, 8), (9, 11)), dim_ratio=6.0, layer_scale=True, use_extra_CTI=True,
    add_vit_feature=True,
)  # fmt: skip
STRIDES = (4, 8, 16, 32)
PATCH, EXTRA = 16, 4  # pixels of a patch; interactions more in the last group
Sizes = tuple[tuple[int, int], ...]  # rows and columns of the levels at strides 8, 16, 32


def maps_of(tokens: Tensor, sizes: Sizes) -> list[Tensor]:
    """Tokens of all levels, (B, N, C), as maps (B, C, H_i, W_i)."""
    parts = tokens.split([height * width for height, width in sizes], 1)
    return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


def tokens_of(maps: Sequence[Tensor]) -> Tensor:
    """Maps of all levels as tokens, (B, N, C)."""
    return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)


def with_vit(tokens: Tensor, x: Tensor, sizes: Sizes) -> Tensor:
    """Tokens of all levels with those of the transformer added to the level of its stride."""
    before, after = sizes[0][0] * sizes[0][1], sizes[2][0] * sizes[2][1]
    return tokens + F.pad(x, (0, 0, before, after))


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map at another size."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class Block(nn.Module):
    """A block of the transformer.

    Args:
        channels: C of a token.
        heads: of the attention.
        mlp_ratio: channels between in the perceptron, divided by C.
        has_scale: layer scales, which begin at 1.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, channels: int, heads: int, mlp_ratio: float, has_scale: bool, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.gamma1 = nn.Parameter(torch.ones(channels)) if has_scale else 1.0
        self.gamma2 = nn.Parameter(torch.ones(channels)) if has_scale else 1.0
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C) -> (B, N, C)
        x = x + self.drop_path(self.gamma1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.gamma2 * self.mlp(self.norm2(x)))


class DeformAttention(nn.Module):
    """Multi-scale deformable attention of all levels' tokens to all levels (Deformable DETR, arXiv 2010.04159).

    Args:
        channels: C of a token.
        heads: number of heads, which must divide `ratio` * C.
        points: sampled for each head on each level.
        ratio: channels of the values, divided by C.
        levels: number of levels.
    """

    def __init__(self, channels: int, heads: int, points: int, ratio: float, levels: int = 3):
        super().__init__()
        self.heads, self.points, self.levels = heads, points, levels
        inner = int(channels * ratio)
        if inner % heads:
            raise ValueError(f"ViTCoMer: deform_num_heads {heads} must divide embed_dim * deform_ratio, got {inner}")
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, inner)
        self.output_proj = nn.Linear(inner, channels)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Each head looks in its own direction, each of its points one step further."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), 1)
        directions = directions / directions.abs().amax(1, keepdim=True)
        steps = torch.arange(1, self.points + 1.0)[:, None] * directions[:, None, None]  # (heads, 1, points, 2)
        for layer in (self.sampling_offsets, self.attention_weights):
            layer.weight.zero_()
        self.attention_weights.bias.zero_()
        self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            layer.bias.zero_()

    def forward(self, query: Tensor, feat: Tensor, sizes: Sizes) -> Tensor:  # (B, N, C) twice -> (B, N, C)
        value = self.value_proj(feat).unflatten(2, (self.heads, -1))
        offsets = self.sampling_offsets(query).unflatten(2, (self.heads, self.levels, self.points, 2))
        weights = self.attention_weights(query).unflatten(2, (self.heads, -1)).softmax(3)
        weights = weights.unflatten(3, (self.levels, self.points))
        scale = query.new_tensor([(width, height) for height, width in sizes])[:, None]  # (levels, 1, 2)
        places = centres(sizes, query)[:, None, None, None] + offsets / scale
        return self.output_proj(multi_scale_deformable_attn_pytorch(value, sizes, places, weights))


def centres(sizes: Sizes, like: Tensor) -> Tensor:
    """Middle of each position of all levels, (N, 2) as (x, y) in 0 to 1."""
    found = []
    for height, width in sizes:
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        found.append(torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), 2).flatten(0, 1))
    return torch.cat(found)


class DWConv(nn.Module):
    """One depthwise 3x3 convolution for all levels."""

    def __init__(self, channels: int):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:  # (B, N, C) -> (B, N, C)
        return tokens_of([self.dwconv(one) for one in maps_of(x, sizes)])


class MultiDWConv(nn.Module):
    """For each level 3x3 and 5x5 depthwise convolutions of half of the channels each, a batch norm and GELU."""

    def __init__(self, channels: int, levels: int = 3):
        super().__init__()
        half = channels // 2
        self.levels = levels
        for i in range(levels):
            self.add_module(f"dwconv{2 * i + 1}", nn.Conv2d(half, half, 3, padding=1, groups=half))
            self.add_module(f"dwconv{2 * i + 2}", nn.Conv2d(half, half, 5, padding=2, groups=half))
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:  # (B, N, C) -> (B, N, C)
        found = []
        for i, one in enumerate(maps_of(x, sizes)):
            small, large = one.chunk(2, 1)
            small, large = getattr(self, f"dwconv{2 * i + 1}")(small), getattr(self, f"dwconv{2 * i + 2}")(large)
            found.append(F.gelu(getattr(self, f"bn{i + 1}")(torch.cat((small, large), 1))))
        return tokens_of(found)


class ConvFFN(nn.Module):
    """A perceptron with a depthwise convolution and GELU between. The input is not added.

    Args:
        channels: C of a token.
        hidden: channels between.
        dwconv: DWConv; or MultiDWConv, over whose GELU another one goes then, as published.
    """

    def __init__(self, channels: int, hidden: int, dwconv: type[DWConv | MultiDWConv] = DWConv):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = dwconv(hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:  # (B, N, C) -> (B, N, C)
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), sizes)))


class Exchange(nn.Module):
    """Deformable attention among the levels and a perceptron.

    Args:
        channels: C of a token.
        facts: of the arch: `deform_num_heads`, `n_points`, `deform_ratio`, `cffn_ratio`.
        has_residual: add the queries to what the attention gives.
    """

    def __init__(self, channels: int, facts: dict, has_residual: bool):
        super().__init__()
        self.has_residual = has_residual
        self.query_norm = nn.LayerNorm(channels, eps=1e-6)
        self.feat_norm = nn.LayerNorm(channels, eps=1e-6)
        self.attn = DeformAttention(channels, facts["deform_num_heads"], facts["n_points"], facts["deform_ratio"])
        self.ffn = ConvFFN(channels, int(channels * facts["cffn_ratio"]))
        self.ffn_norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, query: Tensor, feat: Tensor, sizes: Sizes) -> Tensor:  # (B, N, C) twice -> (B, N, C)
        attended = self.attn(self.query_norm(query), self.feat_norm(feat), sizes)
        query = query + attended if self.has_residual else attended
        return query + self.ffn(self.ffn_norm(query), sizes)


class ToViT(Exchange):
    """What the levels, with the transformer's tokens in them, give to it: the sum of all three at its stride.

    Args:
        channels, facts: see `Exchange`.
    """

    def __init__(self, channels: int, facts: dict):
        super().__init__(channels, facts, has_residual=False)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, c: Tensor, sizes: Sizes) -> Tensor:  # (B, N_16, C), (B, N, C) -> (B, N_16, C)
        maps = maps_of(super().forward(c, c, sizes), sizes)
        found = sum(one if size == sizes[1] else resized(one, sizes[1]) for one, size in zip(maps, sizes, strict=True))
        return x + self.gamma * found.flatten(2).transpose(1, 2)


class ToCNN(nn.Module):
    """What the transformer gives to the levels.

    As published, the tokens are normed twice, and the exchange adds to the normed ones.

    Args:
        channels, facts: see `Exchange`.
        has_ffn: first a perceptron on the levels, as in the interactions behind the last group.
    """

    def __init__(self, channels: int, facts: dict, has_ffn: bool = False):
        super().__init__()
        self.query_norm = nn.LayerNorm(channels, eps=1e-6)
        self.feat_norm = nn.LayerNorm(channels, eps=1e-6)
        self.cfinter = Exchange(channels, facts, has_residual=True)
        self.ffn = ConvFFN(channels, int(channels * facts["cffn_ratio"])) if has_ffn else None
        self.ffn_norm = nn.LayerNorm(channels, eps=1e-6) if has_ffn else None

    def forward(self, x: Tensor, c: Tensor, sizes: Sizes) -> Tensor:  # (B, N_16, C), (B, N, C) -> (B, N, C)
        c = with_vit(c, x, sizes)
        if self.ffn is not None:
            c = c + self.ffn(self.ffn_norm(c), sizes)
        return self.cfinter(self.query_norm(c), self.feat_norm(c), sizes)


class Interaction(nn.Module):
    """What happens around one group of the transformer's blocks.

    Args:
        channels, facts: see `Exchange`; also the fact `dim_ratio`.
        has_extra: more interactions towards the levels afterwards.
    """

    def __init__(self, channels: int, facts: dict, has_extra: bool):
        super().__init__()
        self.mrfp = ConvFFN(channels, int(channels * facts["dim_ratio"]), MultiDWConv)
        self.cti_tov = ToViT(channels, facts)
        self.cti_toc = ToCNN(channels, facts)
        self.extra_CTIs = nn.ModuleList(ToCNN(channels, facts, has_ffn=True) for _ in range(EXTRA if has_extra else 0))

    def before(self, x: Tensor, c: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        """Both branches, (B, N_16, C) and (B, N, C), as the blocks find them."""
        c = with_vit(self.mrfp(c, sizes), x, sizes)
        return self.cti_tov(x, c, sizes), c

    def after(self, x: Tensor, c: Tensor, sizes: Sizes) -> Tensor:
        """The levels after the blocks."""
        for layer in (self.cti_toc, *self.extra_CTIs):
            c = layer(x, c, sizes)
        return c


def conv_norm(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    """A 3x3 convolution without bias, a batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class SpatialPriorModule(nn.Module):
    """The convolutional pyramid, with C channels at strides 4, 8, 16, 32.

    Args:
        in_channels: of the picture.
        width: channels of the first convolutions.
        channels: C.
        has_first: give the map at stride 4 too.
    """

    def __init__(self, in_channels: int, width: int, channels: int, has_first: bool):
        super().__init__()
        layers = [*conv_norm(in_channels, width, 2), *conv_norm(width, width, 1), *conv_norm(width, width, 1)]
        self.stem = nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1))
        self.conv2 = nn.Sequential(*conv_norm(width, 2 * width, 2))
        self.conv3 = nn.Sequential(*conv_norm(2 * width, 4 * width, 2))
        self.conv4 = nn.Sequential(*conv_norm(4 * width, 4 * width, 2))
        self.fc1 = nn.Conv2d(width, channels, 1) if has_first else None
        self.fc2 = nn.Conv2d(2 * width, channels, 1)
        self.fc3 = nn.Conv2d(4 * width, channels, 1)
        self.fc4 = nn.Conv2d(4 * width, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """The map at stride 4, where told, and those at strides 8, 16, 32."""
        first = self.stem(x)
        second = self.conv2(first)
        third = self.conv3(second)
        fourth = self.conv4(third)
        maps = [self.fc2(second), self.fc3(third), self.fc4(fourth)]
        return None if self.fc1 is None else self.fc1(first), maps


@MODELS.register_module()
class ViTCoMer(Backbone):
    """ViT-CoMer in its form for segmentation: maps of C channels at strides 4, 8, 16, 32, each with a batch norm.

    Pictures whose sides are no multiples of 32 are filled up with zeros at the right and below, and the maps are cut.

    Args:
        arch: `tiny`, `small`, `base`, `large`; or a dict of `embed_dim`, `num_heads` and of what differs from
            `DEFAULTS`. Of the four groups of blocks, `interaction_indexes` has the first and the last block.
        pretrain_size: pixels of a side for which the position embedding is stored; it is resized to others. It has a
            place for a class token, as checkpoints do, which nothing reads.
        in_channels: channels of the picture.
        out_indices: which maps to give; 0 is that at stride 4.
        frozen_stages: stem and embeddings (0) and this many groups of blocks with what is around them.
        drop_path_rate: of the transformer's last block, rising from 0 at the first.
        with_cp: see `Backbone`.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or map, or a fact of the arch does not fit.
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        pretrain_size: int = 224,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = DEFAULTS | arch_facts("ViTCoMer", ARCHS, arch)
        channels, heads, depth = facts["embed_dim"], facts["num_heads"], facts["depth"]
        if channels % heads:
            raise ValueError(f"ViTCoMer: embed_dim must be divisible by num_heads {heads}, got {channels}")
        groups = [tuple(pair) for pair in facts["interaction_indexes"]]
        if len(groups) != len(STRIDES) or [i for a, b in groups for i in range(a, b + 1)] != list(range(depth)):
            raise ValueError(
                f"ViTCoMer: interaction_indexes must be four pairs that cover {depth} blocks, got {groups}"
            )
        super().__init__([channels] * 4, STRIDES, out_indices, frozen_stages, with_cp, init_cfg)
        self.groups, self.add_vit_feature = groups, facts["add_vit_feature"]
        has_first = 0 in self.out_indices
        self.grid = pretrain_size // PATCH
        self.patch_embed = PatchEmbed(None, PATCH, in_channels, channels, flatten=False)
        self.pos_embed = nn.Parameter(trunc_normal_(torch.zeros(1, 1 + self.grid**2, channels), std=0.02))
        self.spm = SpatialPriorModule(in_channels, facts["conv_inplane"], channels, has_first)
        self.level_embed = nn.Parameter(torch.randn(3, channels))
        (rates,) = drop_path_rates(drop_path_rate, [depth])
        self.blocks = nn.ModuleList(
            Block(channels, heads, facts["mlp_ratio"], facts["layer_scale"], rate) for rate in rates
        )
        self.interactions = nn.ModuleList(
            Interaction(channels, facts, facts["use_extra_CTI"] and i == len(groups) - 1) for i in range(len(groups))
        )
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2) if has_first else None
        for i in self.out_indices:
            self.add_module(f"norm{i + 1}", nn.BatchNorm2d(channels))
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        stem = [self.patch_embed, self.pos_embed, self.spm, self.level_embed]
        around = zip(self.groups, self.interactions, strict=True)
        return [stem, *([*self.blocks[first : last + 1], interaction] for (first, last), interaction in around)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> maps (B, C, H / s_i, W / s_i)."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        first, levels = self.spm(x)
        sizes = tuple(tuple(one.shape[2:]) for one in levels)
        c = tokens_of([one + embed[:, None, None] for one, embed in zip(levels, self.level_embed, strict=True)])
        x = (self.patch_embed(x) + self.places(sizes[1])).flatten(2).transpose(1, 2)
        of_vit = []
        for (start, end), interaction in zip(self.groups, self.interactions, strict=True):
            x, c = self.run(interaction.before, x, c, sizes)
            x = self.run_each(self.blocks[start : end + 1], x)
            c = self.run(interaction.after, x, c, sizes)
            of_vit.append(x.transpose(1, 2).unflatten(2, sizes[1]))
        maps = maps_of(c, sizes)
        maps = [None if first is None else first + self.up(maps[0]), *maps]
        outs = []
        for i in self.out_indices:
            one = maps[i] + resized(of_vit[i], maps[i].shape[2:]) if self.add_vit_feature else maps[i]
            one = one[:, :, : -(-height // STRIDES[i]), : -(-width // STRIDES[i])]
            outs.append(getattr(self, f"norm{i + 1}")(one))
        return tuple(outs)

    def places(self, size: tuple[int, int]) -> Tensor:
        """The embedding of positions as a map of `size`, (1, C, H / 16, W / 16)."""
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        if size == (self.grid, self.grid):
            return grid
        return F.interpolate(grid, size, mode="bicubic", align_corners=False)
