"""EfficientMod: a wide linear layer, modulated by a context that a large depth-wise convolution sees.

Efficient Modulation for Vision Networks, ICLR 2024, arXiv 2403.19963.

    y = x + gamma * W2 (act(W1 n) * tile(g(gelu(conv_7x7(f(n))))))        n = LN(x)

f, g, W1 and W2 are linear over the channels; the context, as wide as x, is repeated until it is as wide as W1 n. The
last blocks of late stages are those of a transformer.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from timm.layers import Attention, DropPath, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates, start_linear

STRIDES = (4, 8, 16, 32)
LEAST_WIDTH = 32  # channels of a head of attention, where C / heads are fewer; all heads may then be wider than C
ARCHS = {  # attention: transformer blocks at the end of each stage; expansions: of the other blocks, in turn
    "xxs": dict(embed_dim=(32, 64, 128, 256), depths=(2, 2, 6, 2), attention=(0, 0, 1, 2), expansions=((1, 6),) * 4),
}


class Modulation(nn.Module):
    """Expand, modulate, reduce.

    Args:
        channels: C of the input.
        expansion: how many times wider it is in between. With 1 there is no activation.
        kernel_size: of the context's convolution.
    """

    def __init__(self, channels: int, expansion: int, kernel_size: int = 7):
        super().__init__()
        self.expansion = expansion
        self.fc1 = nn.Linear(channels, expansion * channels)
        self.context_layer = Context(channels, kernel_size)
        self.fc2 = nn.Linear(expansion * channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        wide = self.fc1(x) if self.expansion == 1 else F.gelu(self.fc1(x))
        return self.fc2(wide * self.context_layer(x).repeat(1, 1, 1, self.expansion))


class Context(nn.Module):
    """g(gelu(conv(f(x)))), the convolution depth-wise."""

    def __init__(self, channels: int, kernel_size: int):
        super().__init__()
        conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.f = nn.Linear(channels, channels)
        self.context_list = nn.Sequential(conv)
        self.g = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        seen = self.context_list(self.f(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.g(F.gelu(seen))


class ModulationBlock(nn.Module):
    """Modulation behind a layer norm and beside an identity, with a scale for each channel."""

    def __init__(self, channels: int, expansion: int, kernel_size: int, drop_path_rate: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = Modulation(channels, expansion, kernel_size)
        self.gamma_1 = nn.Parameter(1e-4 * torch.ones(channels))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return x + self.drop_path(self.gamma_1 * self.mlp(self.norm(x)))


class AttentionBlock(nn.Module):
    """Softmax attention over the whole map and MLP, each behind a layer norm and beside an identity."""

    def __init__(self, channels: int, num_heads: int, qkv_bias: bool, mlp_ratio: float, drop_path_rate: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels, num_heads, max(channels // num_heads, LEAST_WIDTH), qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        y = self.attn(self.norm1(x).flatten(1, 2)).unflatten(1, x.shape[1:3])
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Embed(nn.Module):
    """A strided convolution and a layer norm.

    Args:
        in_channels, channels, kernel_size, stride, padding: of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int, padding: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, H / stride, W / stride, channels)
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks, and the halving of the map that follows them in all stages but the last."""

    def __init__(self, blocks: list[nn.Module], downsample: Embed | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


@MODELS.register_module()
class EfficientMod(Backbone):
    """EfficientMod. Its maps are those of the last blocks, without a norm, as in the published detectors.

    Args:
        arch: `xxs`, or a dict like those in ARCHS: `embed_dim`, `depths`, `attention` (transformer blocks at the end of
            each stage) and `expansions` (for each stage those of its other blocks, in turn).
        kernel_size: of the contexts.
        att_heads: of the transformer blocks.
        att_ratio: hidden channels of their MLPs to the input's.
        qkv_bias: whether their queries, keys and values have a bias.
        num_classes: logits instead of maps; None for maps.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        frozen_stages: keep the stem (0) and this many stages as they are; -1 for none.
        drop_path_rate: of the last block, rising from 0 at the first.
        with_cp: recompute the blocks in the backward pass to save memory.
        init_cfg: as mmengine's.

    Raises:
        ValueError: `arch` is unknown.
    """

    def __init__(
        self,
        arch: str | dict = "xxs",
        kernel_size: int = 7,
        att_heads: int = 8,
        att_ratio: float = 4.0,
        qkv_bias: bool = False,
        num_classes: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        sizes = arch_facts("EfficientMod", ARCHS, arch)
        dims, attention, expansions = (sizes[name] for name in ("embed_dim", "attention", "expansions"))
        super().__init__(dims, STRIDES, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        self.patch_embed = Embed(in_channels, dims[0], 7, 4, 3)
        self.layers = nn.ModuleList()
        total = [count + more for count, more in zip(sizes["depths"], attention, strict=True)]
        for i, rates in enumerate(drop_path_rates(drop_path_rate, total)[: self.built]):
            blocks: list[nn.Module] = []
            for j, rate in enumerate(rates):
                if j < sizes["depths"][i]:
                    expansion = expansions[i][j % len(expansions[i])]
                    blocks.append(ModulationBlock(dims[i], expansion, kernel_size, rate))
                else:
                    blocks.append(AttentionBlock(dims[i], att_heads, qkv_bias, att_ratio, rate))
            self.layers.append(Stage(blocks, Embed(dims[i], dims[i + 1], 3, 2, 1) if i + 1 < self.built else None))
        if num_classes is not None:
            self.norm = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)
        start_linear(self)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.patch_embed], *([stage] for stage in self.layers)]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        x, found = self.patch_embed(x), []
        for stage in self.layers:
            found.append(self.run_each(stage.blocks, x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(found[-1])
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))
