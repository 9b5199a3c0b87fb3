"""DHVT: a vision transformer for small data sets: convolutional patches and perceptron, and tokens of the heads.

Bridging the Gap Between Vision Transformers and Convolutional Neural Networks on Small Datasets, NeurIPS 2022,
arXiv 2210.05958.

    patches = affine(convs(affine(x)))        no embedding of positions
    heads = gelu(norm(W_head parts of mean(x))) + e;    x, out = split(mhsa([x, heads]));    class += mean(out)
    patches += convs(norm(patches));    class += norm(class) * (W_2 gelu(W_1 mean(convs(norm(patches)))))
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

ARCHS = {
    "tiny": dict(embed_dim=192, depth=12, num_heads=3),
    "small": dict(embed_dim=384, depth=12, num_heads=6),
    "tiny_cifar": dict(embed_dim=192, depth=12, num_heads=4),
    "small_cifar": dict(embed_dim=384, depth=12, num_heads=8),
}
CONVS = {16: 4, 4: 2, 2: 1}  # patch size -> strided convolutions
Size = tuple[int, int]


class Affine(nn.Module):
    """A learned factor and shift for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.alpha + self.beta


class PatchEmbed(nn.Module):
    """SOPE: 3x3 convolutions of stride 2 between two affine layers.

    Args:
        in_channels: of the picture.
        channels: C of a patch.
        patch_size: 16, 4 or 2.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int):
        super().__init__()
        count = CONVS[patch_size]
        layers: list[nn.Module] = []
        before = in_channels
        for i in range(count):
            after = channels >> (count - 1 - i)
            conv = nn.Conv2d(before, after, 3, 2, 1, bias=False)
            layers += [nn.Sequential(conv, nn.BatchNorm2d(after)), nn.GELU()]
            before = after
        self.pre_affine = Affine(in_channels)
        self.proj = nn.Sequential(*(layers if count == 1 else layers[:-1]))
        self.post_affine = Affine(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, C, H / patch_size, W / patch_size)
        return self.post_affine(self.proj(self.pre_affine(x)))


class HeadInteractedAttention(nn.Module):
    """Self-attention among the tokens and one more token for each head, made of what all tokens hold on average.

    Args:
        channels: C of a token, divisible by `heads`.
        heads: number of heads.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.ht_proj = nn.Linear(channels // heads, channels)
        self.ht_norm = nn.LayerNorm(channels // heads)
        self.pos_embed = nn.Parameter(trunc_normal_(torch.zeros(1, heads, channels), std=0.02))

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C), the class token first, -> (B, N, C)
        tokens = x.shape[1]
        parts = x.mean(1).unflatten(1, (self.heads, -1))  # (B, heads, C / heads)
        of_heads = self.ht_norm(self.ht_proj(parts).unflatten(2, (self.heads, -1)))  # (B, heads, heads, C / heads)
        of_heads = F.gelu(of_heads).flatten(2) + self.pos_embed
        x = torch.cat((x, of_heads), 1)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        first, patches, of_heads = x.split((1, tokens - 1, self.heads), 1)
        return torch.cat((first + of_heads.mean(1, keepdim=True), patches), 1)


class ConvMLP(nn.Module):
    """DAFF: a perceptron of convolutions on the patches, whose mean weighs the class token.

    Args:
        channels: C of a token.
        hidden: channels between.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, channels, 1)
        self.bn3 = nn.BatchNorm2d(channels)
        self.compress = nn.Linear(channels, channels // 4)
        self.excitation = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor, size: Size) -> Tensor:  # (B, 1 + H * W, C), the class token first, -> the same
        first, patches = x[:, 0], x[:, 1:].transpose(1, 2).unflatten(2, size)
        y = F.gelu(self.bn1(self.conv1(patches)))
        y = y + F.gelu(self.bn2(self.conv2(y)))
        patches = self.bn3(self.conv3(y))
        weight = self.excitation(F.gelu(self.compress(patches.mean((2, 3)))))  # no sigmoid, as published
        return torch.cat(((first * weight).unsqueeze(1), patches.flatten(2).transpose(1, 2)), 1)


class Block(nn.Module):
    """Attention and a perceptron.

    Args:
        channels: C of a token.
        heads: of the attention.
        mlp_ratio: channels between in the perceptron, divided by C.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, channels: int, heads: int, mlp_ratio: float, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = HeadInteractedAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = ConvMLP(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: Size) -> Tensor:  # (B, 1 + H * W, C) -> the same
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x), size))


@MODELS.register_module()
class DHVT(Backbone):
    """DHVT, its patches as one bare map after each chosen block, or its classifier.

    It gives no pyramid: put a `SimpleFeaturePyramid` behind its map. It takes pictures of any size; the published code
    takes squares alone.

    Args:
        arch: `tiny`, `small` (ImageNet), `tiny_cifar`, `small_cifar` (CIFAR-100, DomainNet); or a dict of `embed_dim`,
            `depth`, `num_heads` and, where it is not 4, `mlp_ratio`.
        patch_size: 16 (published for ImageNet and DomainNet), 4 or 2 (CIFAR-100).
        in_channels: channels of the picture.
        out_indices: blocks whose maps to give; None for the last. Frozen stages are blocks too.
        num_classes: logits of the published classifier instead of maps; None for maps.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch, patch size or block, or the width is not divisible by its heads and by 8.
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        patch_size: int = 16,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        num_classes: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("DHVT", ARCHS, arch)
        if patch_size not in CONVS:
            raise ValueError(f"DHVT: patch_size must be among {', '.join(map(str, CONVS))}, got {patch_size}")
        channels, depth, heads = facts["embed_dim"], facts["depth"], facts["num_heads"]
        if channels % heads or channels % 8:
            raise ValueError(f"DHVT: embed_dim must be divisible by num_heads {heads} and by 8, got {channels}")
        chosen = (depth - 1,) if out_indices is None else out_indices
        super().__init__(
            [channels] * depth, [patch_size] * depth, chosen, frozen_stages, with_cp, init_cfg, num_classes
        )
        (rates,) = drop_path_rates(drop_path_rate, [depth])
        self.patch_embed = PatchEmbed(in_channels, channels, patch_size)
        self.cls_token = nn.Parameter(trunc_normal_(torch.zeros(1, 1, channels), std=0.02))
        ratio = facts.get("mlp_ratio", 4)
        self.blocks = nn.ModuleList(Block(channels, heads, ratio, rate) for rate in rates[: self.built])
        if num_classes is not None:
            self.norm = nn.LayerNorm(channels, eps=1e-6)
            self.head = nn.Linear(channels, num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.patch_embed, self.cls_token], *([block] for block in self.blocks)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """(B, in_channels, H, W) -> maps (B, C, H / patch_size, W / patch_size), or logits (B, num_classes)."""
        x = self.patch_embed(x)
        size, maps = tuple(x.shape[2:]), []
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)), 1)
        for i, block in enumerate(self.blocks):
            x = self.run(block, x, size)
            if i in self.out_indices:
                maps.append(x[:, 1:].transpose(1, 2).unflatten(2, size))
        return tuple(maps) if self.num_classes is None else self.head(self.norm(x[:, 0]))
