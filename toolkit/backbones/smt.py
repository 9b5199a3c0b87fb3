"""SMT: convolutions of several sizes modulate the values in early stages, self-attention takes over in late ones.

Scale-Aware Modulation Meet Transformer, ICCV 2023, arXiv 2307.08579.

    modulation: y = W (W2 gelu(BN(G s)) * v)        s = depth-wise 3x3, 5x5, 7x7, 9x9 of W1 x, by head
    attention:  y = W (softmax(q k^T / sqrt(d)) v + conv_3x3(v))

G connects, for each channel of a head, that channel of every head. The third stage alternates between the two.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

STRIDES = (4, 8, 16, 32)
NONE = -1  # heads of what a stage does not have
_HEADS = dict(ca_num_heads=(4, 4, 4, NONE), sa_num_heads=(NONE, NONE, 8, 16))
ARCHS = {
    "tiny": dict(embed_dims=(64, 128, 256, 512), depths=(2, 2, 8, 1), mlp_ratios=(4, 4, 4, 2), head_conv=3, **_HEADS),
    "base": dict(embed_dims=(64, 128, 256, 512), depths=(4, 6, 28, 2), mlp_ratios=(8, 6, 4, 2), head_conv=7, **_HEADS),
}


def channels_first(x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, C, H, W), in channels-last order
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, H, W, C)
    return x.permute(0, 2, 3, 1)


class Modulation(nn.Module):
    """Scale-aware modulation.

    Args:
        channels: C of the input.
        num_heads: contiguous groups of channels, one for each size of kernel.
        expand_ratio: channels inside G to the input's.
        qkv_bias: whether the projections of values and scales have a bias.
    """

    def __init__(self, channels: int, num_heads: int, expand_ratio: int = 2, qkv_bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        width, hidden = channels // num_heads, channels * expand_ratio
        self.v = nn.Linear(channels, channels, bias=qkv_bias)
        self.s = nn.Linear(channels, channels, bias=qkv_bias)
        for i in range(num_heads):
            conv = nn.Conv2d(width, width, 3 + 2 * i, padding=1 + i, groups=width)
            self.add_module(f"local_conv_{i + 1}", conv)
        self.proj0 = nn.Conv2d(channels, hidden, 1, groups=width)
        self.bn = nn.BatchNorm2d(hidden)
        self.proj1 = nn.Conv2d(hidden, channels, 1)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        heads = channels_first(self.s(x)).chunk(self.num_heads, 1)
        scales = [getattr(self, f"local_conv_{i + 1}")(heads[i]) for i in range(self.num_heads)]
        scales = torch.stack(scales, 2).flatten(1, 2)  # (B, C, H, W), the heads interleaved
        modulator = self.proj1(F.gelu(self.bn(self.proj0(scales))))
        return self.proj(channels_last(modulator) * self.v(x))


class Attention(nn.Module):
    """Softmax attention over the whole map, and a 3x3 convolution of the values.

    Args:
        channels: C of the input.
        num_heads: heads.
        qkv_bias: whether queries, keys and values have a bias.
    """

    def __init__(self, channels: int, num_heads: int, qkv_bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(channels, channels, bias=qkv_bias)
        self.kv = nn.Linear(channels, 2 * channels, bias=qkv_bias)
        self.local_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        k, v = self.kv(x).chunk(2, -1)
        q, keys, values = (
            part.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (self.q(x), k, v)
        )
        y = F.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2)  # (B, H * W, C)
        local = channels_last(self.local_conv(channels_first(v)))
        return self.proj(y.unflatten(1, x.shape[1:3]) + local)


class DWConv(nn.Module):
    """A depth-wise 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return channels_last(self.dwconv(channels_first(x)))


class MLP(nn.Module):
    """fc2(gelu(h + conv_3x3(h))), h = fc1(x)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = DWConv(hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        x = self.fc1(x)
        return self.fc2(F.gelu(x + self.dwconv(x)))


class Block(nn.Module):
    """Modulation or attention, and MLP, each behind a layer norm and beside an identity."""

    def __init__(self, channels: int, mixer: nn.Module, mlp_ratio: float, drop_path_rate: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stem(nn.Module):
    """From the picture to stride 4: a convolution of stride 2, batch norm, ReLU, 2x2 of stride 2, layer norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size, 2, kernel_size // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 2, 2),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, H / 4, W / 4, channels)
        return self.norm(channels_last(self.conv(x)))


class Downsample(nn.Module):
    """3x3 convolution of stride 2 and layer norm."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, 2, 1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, H / 2, W / 2, channels)
        return self.norm(channels_last(self.proj(x)))


@MODELS.register_module()
class SMT(Backbone):
    """Scale-aware modulation transformer. Its maps are normed, and the next stage reads the normed map.

    Args:
        arch: `tiny`, `base`, or a dict like those in ARCHS: `embed_dims`, `depths`, `mlp_ratios`;
            `ca_num_heads` of modulation and `sa_num_heads` of attention in each stage, -1 for none (with both, blocks
            alternate, modulation first); `head_conv`, kernel size of the first convolution.
        expand_ratio: of the modulation.
        qkv_bias: whether projections to queries, keys, values and scales have a bias.
        num_classes: logits instead of maps; None for maps.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        frozen_stages: keep the stem (0) and this many stages as they are; -1 for none.
        drop_path_rate: of the last block, rising from 0 at the first.
        with_cp: recompute the blocks in the backward pass to save memory.
        init_cfg: as mmengine's.

    Raises:
        ValueError: `arch` is unknown, a stage has heads of neither kind, or its heads do not divide its channels.
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        expand_ratio: int = 2,
        qkv_bias: bool = True,
        num_classes: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        sizes = arch_facts("SMT", ARCHS, arch)
        dims, depths = sizes["embed_dims"], sizes["depths"]
        heads = list(zip(sizes["ca_num_heads"], sizes["sa_num_heads"], strict=True))
        for i, kinds in enumerate(heads):
            if kinds == (NONE, NONE) or any(count != NONE and dims[i] % count for count in kinds):
                raise ValueError(f"SMT: heads {kinds} of stage {i} must divide its {dims[i]} channels, {NONE} for none")
        super().__init__(dims, STRIDES, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        for i, rates in enumerate(drop_path_rates(drop_path_rate, depths)[: self.built]):
            stem = Downsample(dims[i - 1], dims[i]) if i else Stem(in_channels, dims[0], sizes["head_conv"])
            blocks = []
            for j, rate in enumerate(rates):
                modulates, attends = (count != NONE for count in heads[i])
                if modulates and not (attends and j % 2):
                    mixer = Modulation(dims[i], heads[i][0], expand_ratio, qkv_bias)
                else:
                    mixer = Attention(dims[i], heads[i][1], qkv_bias)
                blocks.append(Block(dims[i], mixer, sizes["mlp_ratios"][i], rate))
            self.add_module(f"patch_embed{i + 1}", stem)
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(dims[i], eps=1e-6))
        if num_classes is not None:
            self.head = nn.Linear(dims[-1], num_classes)
        self._start()
        self.freeze()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
            elif isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def stage(self, i: int) -> list[nn.Module]:
        """What comes before the blocks of stage i, counted from 0, the blocks, and the norm."""
        return [getattr(self, f"{name}{i + 1}") for name in ("patch_embed", "block", "norm")]

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        stages = [self.stage(i) for i in range(self.built)]
        return [[stages[0].pop(0)], *stages]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        found = []
        for i in range(self.built):
            embed, blocks, norm = self.stage(i)
            x = channels_first(norm(self.run_each(blocks, embed(x))))
            found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.head(x.mean((2, 3)))
