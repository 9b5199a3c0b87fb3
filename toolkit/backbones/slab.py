"""SLABSwin, SLABDeiT: transformers with simplified linear attention whose norms fold away.

SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization,
ICML 2024, arXiv 2405.11582.

    x = x + attention(norm(x))        x = x + mlp(norm(x))        norm = PRepBN

`deploy()` takes every norm into the layer after it (the first into the convolution before it) and, on a CPU, has
oneDNN do the matrix products with weights in its own order.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.base import Backbone, drop_path_rates, start_linear
from toolkit.modules.attention.slab import SimplifiedLinearAttention
from toolkit.modules.norm.prepbn import PRepBN, merge_after, merge_before, recomputation
from toolkit.modules.packed_weight import PackedLinear

WINDOW = 7  # of softmax attention
HIDDEN = 100.0  # what the score of a token loses that the shift brought near; published, and not infinity
PADDING = 3  # the region of rows and columns that are not in the map
ATTENTIONS = {"L": "simplified linear attention over the whole map", "S": "softmax attention in windows"}


class WindowAttention(nn.Module):
    """Softmax attention in windows, with a learned bias for each offset between two tokens.

    Swin Transformer, ICCV 2021, arXiv 2103.14030. A map that windows do not fill is padded; padding is attended by
    nothing.

    Args:
        channels: C of the input.
        num_heads: heads.
        window: side of a window.
        shift: by how much the windows are moved up and left; tokens that this brings together from opposite ends of
            the map do not see each other.
    """

    def __init__(self, channels: int, num_heads: int, window: int, shift: int = 0, qkv_bias: bool = True):
        super().__init__()
        self.num_heads, self.window, self.shift = num_heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None] + window - 1  # (2, window^2, window^2)
        self.register_buffer("offsets", offset[0] * (2 * window - 1) + offset[1], persistent=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # (B, N, C) -> (B, N, C)
        height, width = size
        tall, wide = (-(-side // self.window) * self.window for side in size)
        shift = self.shift if min(size) > self.window else 0
        x = F.pad(x.unflatten(1, size), (0, 0, 0, wide - width, 0, tall - height))
        x = self._windows(x.roll((-shift, -shift), (1, 2)) if shift else x)  # (B, windows, window^2, C)
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = qkv.unbind()  # (B, windows, heads, window^2, C / heads) each
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + self._bias()
        if shift or (tall, wide) != size:
            scores = scores - self._hiding(size, (tall, wide), shift)
        x = self.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))
        x = x.unflatten(2, (self.window, self.window)).unflatten(1, (tall // self.window, -1)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2)
        return (x.roll((shift, shift), (1, 2)) if shift else x)[:, :height, :width].flatten(1, 2)

    def _windows(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, windows, window^2, C)
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _bias(self) -> Tensor:  # (heads, window^2, window^2)
        return self.relative_position_bias_table[self.offsets].permute(2, 0, 1)

    def _hiding(self, size: tuple[int, int], padded: tuple[int, int], shift: int) -> Tensor:
        """What scores lose: HIDDEN between parts that the shift brings together, all that leads to padding.

        Returns:
            (windows, 1, window^2, window^2).
        """
        rows, columns = (self._regions(*sides, shift) for sides in zip(size, padded, strict=True))
        parts = self._windows((4 * rows[:, None] + columns)[None, ..., None])[
            0, :, None, :, 0
        ]  # (windows, 1, window^2)
        padding = (parts >= 4 * PADDING) | (parts % 4 == PADDING)
        loss = HIDDEN * (parts[..., None] != parts[..., None, :])
        return loss.masked_fill(padding[..., None] != padding[..., None, :], torch.inf)

    def _regions(self, side: int, padded: int, shift: int) -> Tensor:
        """For each row (column) after the shift: 0 kept together, 1 about to wrap, 2 wrapped around, 3 padding."""
        place = torch.arange(padded, device=self.offsets.device)
        region = (place >= padded - self.window).long() + (place >= padded - shift).long() if shift else place * 0
        return region.masked_fill((place + shift) % padded >= side, PADDING)


class Block(nn.Module):
    """Attention and MLP, each behind a PRepBN and beside an identity.

    Args:
        channels: C of the input.
        attention: called with tokens and their (H, W).
        hidden: of the MLP.
        norm: arguments of PRepBN.
        drop_path_rate: stochastic depth.
    """

    def __init__(self, channels: int, attention: nn.Module, hidden: int, norm: dict, drop_path_rate: float = 0.0):
        super().__init__()
        self.norm1 = PRepBN(channels, **norm)
        self.attn = attention
        self.norm2 = PRepBN(channels, **norm)
        self.mlp = Mlp(channels, hidden)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # (B, N, C) -> (B, N, C)
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def switch_to_deploy(self) -> None:
        """Take the norms into the linear layers after them, and the GELU into the one before it, in place."""
        if isinstance(self.norm1, PRepBN):
            merge_before(self.norm1, self.attn.qkv)
            merge_before(self.norm2, self.mlp.fc1)
            self.attn.qkv, self.attn.proj = PackedLinear.of(self.attn.qkv), PackedLinear.of(self.attn.proj)
            self.mlp.fc1, self.mlp.fc2 = PackedLinear.of(self.mlp.fc1, "gelu"), PackedLinear.of(self.mlp.fc2)
            self.norm1 = self.norm2 = self.mlp.act = nn.Identity()


class PatchEmbed(nn.Module):
    """Patches of the picture as tokens; a picture that they do not fill is padded right and below.

    Args:
        in_channels: channels of the picture.
        channels: of a token.
        patch_size: side of a patch.
        norm: arguments of PRepBN; None for no norm.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, norm: dict | None = None):
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, channels, patch_size, patch_size)
        self.norm = nn.Identity() if norm is None else PRepBN(channels, **norm)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:  # (B, in_channels, H, W) -> (B, N, C), (H', W')
        x = self.proj(F.pad(x, (0, -x.shape[3] % self.patch_size, 0, -x.shape[2] % self.patch_size)))
        return self.norm(x.flatten(2).transpose(1, 2)), tuple(x.shape[2:])

    def switch_to_deploy(self) -> None:
        """Take the norm into the convolution before it, in place."""
        if isinstance(self.norm, PRepBN):
            merge_after(self.proj, self.norm)
            self.norm = nn.Identity()


class PatchMerging(nn.Module):
    """2 x 2 tokens as one of twice the channels; an odd map is padded right and below.

    Args:
        channels: C of the input.
        norm: arguments of PRepBN.
    """

    def __init__(self, channels: int, norm: dict):
        super().__init__()
        self.norm = PRepBN(4 * channels, **norm)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # (B, N, C) -> (B, about N / 4, 2 C)
        x = F.pad(x.unflatten(1, size), (0, 0, 0, size[1] % 2, 0, size[0] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H / 2, 2, W / 2, 2, C)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)  # below comes before beside
        return self.reduction(self.norm(x))

    def switch_to_deploy(self) -> None:
        """Take the norm into the linear layer after it, in place."""
        if isinstance(self.norm, PRepBN):
            merge_before(self.norm, self.reduction)
            self.reduction = PackedLinear.of(self.reduction)
            self.norm = nn.Identity()


class Stage(nn.Module):
    """Blocks, and the halving of the map that follows them in all stages but the last."""

    def __init__(self, blocks: list[Block], downsample: PatchMerging | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class SLABNet(Backbone):
    """What both have in common: recomputation with the norms' counters, a classifier, the inference form."""

    def _recomputation(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return recomputation(self, super()._recomputation()[1])

    def logits(self, x: Tensor) -> Tensor:  # (B, N, C), the last tokens, -> (B, num_classes)
        return self.head(self.norm(x).mean(1))

    def switch_to_deploy(self) -> None:
        """Take the classifier's norm into its linear layer; the parts have taken in the others."""
        if hasattr(self, "head") and isinstance(self.norm, PRepBN):
            merge_before(self.norm, self.head)  # a mean of scaled and shifted tokens is a scaled and shifted mean
            self.norm = nn.Identity()


@MODELS.register_module()
class SLABSwin(SLABNet):
    """Swin Transformer with simplified linear attention in its first stages and PRepBN everywhere.

    The defaults are the tiny one; small has depths (2, 2, 18, 2). Linear attention spans the whole map: its position
    encodings fit `img_size` and are resized for other pictures. Without a classifier each map goes through a norm of
    its own, as in Swin's detectors; a classifier's checkpoint has none of these, they start as new.

    Args:
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: of each stage.
        attn_type: a letter for each stage: L simplified linear attention, S softmax attention in 7 x 7 windows.
        img_size: side of the pictures that position encodings and windows are made for.
        patch_size: stride of the first stage.
        kernel_size: of the convolution in linear attention.
        mlp_ratio: hidden channels of the MLPs to the input's.
        qkv_bias: whether queries, keys and values have a bias.
        norm_step: forward passes over which the norms turn from layer norm into batch norm.
        num_classes: logits instead of maps; None for maps.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        frozen_stages: keep the patch embedding (0) and this many stages as they are; -1 for none.
        drop_path_rate: of the last block, rising from 0 at the first.
        with_cp: recompute the blocks in the backward pass to save memory.
        init_cfg: as mmengine's.

    Raises:
        ValueError: `depths`, `num_heads` and `attn_type` do not fit each other.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        attn_type: str = "LLSS",
        img_size: int = 224,
        patch_size: int = 4,
        kernel_size: int = 5,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_step: int = 60000,
        num_classes: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        stages = range(len(depths))
        if not len(depths) == len(num_heads) == len(attn_type) or set(attn_type) - set(ATTENTIONS):
            raise ValueError(
                f"SLABSwin: depths, num_heads and attn_type (letters {', '.join(ATTENTIONS)}) must be of one length, "
                f"got {tuple(depths)}, {tuple(num_heads)}, {attn_type!r}"
            )
        channels = [embed_dim * 2**i for i in stages]
        strides = [patch_size * 2**i for i in stages]
        super().__init__(channels, strides, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        norm = dict(step=norm_step, ln_eps=1e-5)
        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_size, norm)
        self.layers = nn.ModuleList()
        for i, rates in enumerate(drop_path_rates(drop_path_rate, depths)[: self.built]):
            side = -(-img_size // strides[i])
            window = min(WINDOW, side)
            blocks = []
            for j, rate in enumerate(rates):
                if attn_type[i] == "L":
                    attention = SimplifiedLinearAttention(channels[i], num_heads[i], side, kernel_size, qkv_bias)
                else:
                    shift = window // 2 if j % 2 else 0
                    attention = WindowAttention(channels[i], num_heads[i], window, shift, qkv_bias)
                blocks.append(Block(channels[i], attention, int(channels[i] * mlp_ratio), norm, rate))
            self.layers.append(Stage(blocks, PatchMerging(channels[i], norm) if i + 1 < self.built else None))
        if num_classes is None:
            for i in self.out_indices:
                self.add_module(f"norm{i}", PRepBN(channels[i], **norm))
        else:
            self.norm = PRepBN(channels[-1], **norm)
            self.head = nn.Linear(channels[-1], num_classes)
        start_linear(self)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        norms = [[getattr(self, f"norm{i}")] if hasattr(self, f"norm{i}") else [] for i in range(len(self.layers))]
        return [[self.patch_embed], *([stage, *norm] for stage, norm in zip(self.layers, norms, strict=True))]

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:  # -> (B, C_i, H_i, W_i) each, or (B, num_classes)
        x, size = self.patch_embed(x)
        outs = []
        for i, stage in enumerate(self.layers):
            x = self.run_each(stage.blocks, x, size)
            if hasattr(self, f"norm{i}"):
                out = getattr(self, f"norm{i}")(x)
                outs.append(out.transpose(1, 2).unflatten(2, size))
            if stage.downsample is not None:
                x = self.run(stage.downsample, x, size)
                size = (-(-size[0] // 2), -(-size[1] // 2))
        return tuple(outs) if self.num_classes is None else self.logits(x)


@MODELS.register_module()
class SLABDeiT(SLABNet):
    """DeiT with simplified linear attention over the patches, without a class token, and PRepBN everywhere.

    The defaults are the tiny one; small has 384 channels and 6 heads. Its block is held against the published code's;
    the ends of the net, position embedding, average and classifier, are DeiT's.

    Args:
        embed_dim: channels.
        depth: blocks, each a stage of its own.
        num_heads: heads.
        mlp_ratio: hidden channels of the MLPs to the input's.
        qkv_bias: whether queries, keys and values have a bias.
        img_size: side of the pictures that position encodings are made for; for others they are resized.
        patch_size: stride of the maps.
        kernel_size: of the convolution in the attention.
        norm_step: forward passes over which the norms turn from layer norm into batch norm.
        num_classes: logits instead of maps; None for maps.
        in_channels: channels of the picture.
        out_indices: blocks whose maps to give, the last one normed; None for the last.
        frozen_stages: keep the patch embedding (0) and this many blocks as they are; -1 for none.
        drop_path_rate: of the last block, rising from 0 at the first.
        with_cp: recompute the blocks in the backward pass to save memory.
        init_cfg: as mmengine's.
    """

    def __init__(
        self,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        img_size: int = 224,
        patch_size: int = 16,
        kernel_size: int = 5,
        norm_step: int = 60000,
        num_classes: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        chosen = (depth - 1,) if out_indices is None else out_indices
        super().__init__(
            [embed_dim] * depth, [patch_size] * depth, chosen, frozen_stages, with_cp, init_cfg, num_classes
        )
        norm, side = dict(step=norm_step), -(-img_size // patch_size)
        self.size = (side, side)
        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList()
        (rates,) = drop_path_rates(drop_path_rate, [depth])
        for rate in rates[: self.built]:
            attention = SimplifiedLinearAttention(embed_dim, num_heads, side, kernel_size, qkv_bias)
            self.blocks.append(Block(embed_dim, attention, int(embed_dim * mlp_ratio), norm, rate))
        if self.built == depth:
            self.norm = PRepBN(embed_dim, **norm)
        if num_classes is not None:
            self.head = nn.Linear(embed_dim, num_classes)
        start_linear(self)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.patch_embed, self.pos_embed], *([block] for block in self.blocks)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:  # -> (B, C, H_i, W_i) each, or (B, num_classes)
        x, size = self.patch_embed(x)
        x = x + self._position(size)
        outs = []
        for i, block in enumerate(self.blocks):
            x = self.run(block, x, size)
            if i in self.out_indices:
                outs.append(x)
        if self.num_classes is not None:
            return self.logits(x)
        if hasattr(self, "norm"):
            outs[-1] = self.norm(outs[-1])
        return tuple(out.transpose(1, 2).unflatten(2, size) for out in outs)

    def _position(self, size: tuple[int, int]) -> Tensor:
        if size == self.size:
            return self.pos_embed
        learned = self.pos_embed.transpose(1, 2).unflatten(2, self.size)
        return F.interpolate(learned, size, mode="bicubic").flatten(2).transpose(1, 2)
