"""CvT: a vision transformer in three stages whose queries, keys and values come from convolutions.

CvT: Introducing Convolutions to Vision Transformers, ICCV 2021, arXiv 2103.15808.

    q, k, v = W_q bn(dw_q x), W_k bn(dw_k x), W_v bn(dw_v x)        those of keys and values at half the size
    x = x + W softmax(q k^T / sqrt(C)) v        C of the stage, not of a head
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp, QuickGELU, trunc_normal_
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, start_linear

ARCHS = {
    "13": dict(dim_embed=(64, 192, 384), num_heads=(1, 3, 6), depth=(1, 2, 10)),
    "21": dict(dim_embed=(64, 192, 384), num_heads=(1, 3, 6), depth=(1, 4, 16)),
    "w24": dict(dim_embed=(192, 768, 1024), num_heads=(3, 12, 16), depth=(2, 2, 20)),
}
PATCHES = dict(patch_size=(7, 3, 3), patch_stride=(4, 2, 2), patch_padding=(2, 1, 1))
Size = tuple[int, int]


class DWConvNorm(nn.Module):
    """A depthwise 3x3 convolution without bias and a batch norm."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Attention(nn.Module):
    """Attention with convolutional projections. A class token in front of the patches goes around the convolutions.

    Args:
        channels: C of a token.
        heads: number of heads.
        kv_stride: of the convolutions of keys and values.
    """

    def __init__(self, channels: int, heads: int, kv_stride: int = 2):
        super().__init__()
        self.heads, self.scale = heads, channels**-0.5
        self.conv_proj_q = DWConvNorm(channels, 1)
        self.conv_proj_k = DWConvNorm(channels, kv_stride)
        self.conv_proj_v = DWConvNorm(channels, kv_stride)
        self.proj_q = nn.Linear(channels, channels)
        self.proj_k = nn.Linear(channels, channels)
        self.proj_v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, size: Size) -> Tensor:  # (B, [1 +] H * W, C) -> the same
        extra = x.shape[1] - size[0] * size[1]
        first, patches = x[:, :extra], x[:, extra:].transpose(1, 2).unflatten(2, size)
        q, k, v = (
            proj(torch.cat((first, conv(patches).flatten(2).transpose(1, 2)), 1))
            .unflatten(2, (self.heads, -1))
            .transpose(1, 2)
            for conv, proj in (
                (self.conv_proj_q, self.proj_q),
                (self.conv_proj_k, self.proj_k),
                (self.conv_proj_v, self.proj_v),
            )
        )
        x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # (B, heads, tokens, C / heads)
        return self.proj(x.transpose(1, 2).flatten(2))


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
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        # x * sigmoid(1.702 x), which the published networks have for GELU; the two differ by up to 0.02
        self.mlp = Mlp(channels, int(channels * mlp_ratio), act_layer=QuickGELU)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: Size) -> Tensor:  # (B, [1 +] H * W, C) -> the same
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A strided convolution and a layer norm over channels."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int, padding: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, H' * W', C), and (H', W')
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), tuple(x.shape[2:])


class Stage(nn.Module):
    """Patches and blocks, with a class token in the last stage; the backbone calls them."""

    def __init__(self, patch_embed: PatchEmbed, blocks: Sequence[Block], cls_channels: int = 0):
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.cls_token = (
            nn.Parameter(trunc_normal_(torch.zeros(1, 1, cls_channels), std=0.02)) if cls_channels else None
        )


@MODELS.register_module()
class CvT(Backbone):
    """CvT, its bare maps at strides 4, 8, 16, or its classifier.

    Args:
        arch: `13`, `21` or `w24`; or a dict of `dim_embed`, `num_heads` and `depth` of the stages, the last of which
            has the class token, and, where they are not the published ones, `mlp_ratio` and the `patch_size`,
            `patch_stride` and `patch_padding` of the convolutions before the stages.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first of the last stage; the others have none.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or stage, or a width is not divisible by its heads.
    """

    def __init__(
        self,
        arch: str | dict = "13",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2),
        num_classes: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = PATCHES | arch_facts("CvT", ARCHS, arch)
        dims, heads, depths = facts["dim_embed"], facts["num_heads"], facts["depth"]
        if any(dim % count for dim, count in zip(dims, heads, strict=True)):
            raise ValueError(f"CvT: dim_embed must be divisible by num_heads {heads}, got {dims}")
        strides, stride = [], 1
        for step in facts["patch_stride"]:
            strides.append(stride := stride * step)
        super().__init__(dims, strides[: len(dims)], out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        ratios = facts.get("mlp_ratio", (4.0,) * len(dims))
        for i in range(self.built):
            is_last = i == len(dims) - 1
            patches = PatchEmbed(dims[i - 1] if i else in_channels, dims[i], *(facts[name][i] for name in PATCHES))
            rates = [drop_path_rate * j / max(depths[i] - 1, 1) if is_last else 0.0 for j in range(depths[i])]
            blocks = [Block(dims[i], heads[i], ratios[i], rate) for rate in rates]
            self.add_module(f"stage{i}", Stage(patches, blocks, dims[i] if is_last else 0))
        if num_classes is not None:
            self.norm = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)
        start_linear(self)
        self.freeze()

    @property
    def stages(self) -> list[Stage]:
        """The stages that there are."""
        return [getattr(self, f"stage{i}") for i in range(self.built)]

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        first, *others = self.stages
        return [[first.patch_embed], [first.blocks], *([stage] for stage in others)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """(B, in_channels, H, W) -> maps (B, C_i, H / s_i, W / s_i), or logits (B, num_classes)."""
        maps, first = self.maps(x)
        return tuple(maps[i] for i in self.out_indices) if self.num_classes is None else self.logits(first)

    def maps(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map of every stage that there is, and the class token (B, 1, C), empty where its stage is left out."""
        found = []
        for stage in self.stages:
            x, size = stage.patch_embed(x)
            if stage.cls_token is not None:
                x = torch.cat((stage.cls_token.expand(len(x), -1, -1), x), 1)
            x = self.run_each(stage.blocks, x, size)
            first, x = x.split((x.shape[1] - size[0] * size[1], size[0] * size[1]), 1)
            x = x.transpose(1, 2).unflatten(2, size)
            found.append(x)
        return found, first

    def logits(self, first: Tensor) -> Tensor:  # (B, 1, C), the class token, -> (B, num_classes)
        return self.head(self.norm(first[:, 0]))
