"""NiNformer: a transformer whose attention is a gate that a small MLP-Mixer computes for every element.

NiNformer: A Network in Network Transformer with Token Mixing Generated Gating Function, Neural Computing and
Applications 2025, arXiv 2403.02411.

    x = x + W norm(x) * mixer(norm(x));    x = x + mlp(norm(x))        one norm in both places
"""

from collections.abc import Sequence

from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

ARCHS = {"cifar": dict(patch_size=4, d_model=256, d_ffn=512, num_layers=4)}


class Mixer(nn.Module):
    """A block of MLP-Mixer: a perceptron over the tokens, then one over the channels, each with its input added.

    Args:
        tokens: N, which is fixed.
        channels: C of a token.
        hidden: units of both perceptrons.
        drop_rate: of dropout.
    """

    def __init__(self, tokens: int, channels: int, hidden: int, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.token_mlp = Mlp(tokens, hidden, drop=drop_rate)
        self.channel_norm = nn.LayerNorm(channels)
        self.channel_mlp = Mlp(channels, hidden, drop=drop_rate)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C) -> (B, N, C)
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.channel_norm(x))


class Block(nn.Module):
    """A gate and a perceptron.

    Args:
        tokens, channels, hidden, drop_rate: see `Mixer`.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, tokens: int, channels: int, hidden: int, drop_rate: float, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(channels)  # before both halves, as published
        self.gate = nn.Linear(channels, channels)
        self.mixer = Mixer(tokens, channels, hidden, drop_rate)
        self.mlp = Mlp(channels, hidden, drop=drop_rate)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C) -> (B, N, C)
        normed = self.norm(x)
        x = x + self.drop_path(self.gate(normed) * self.mixer(normed))
        return x + self.drop_path(self.mlp(self.norm(x)))


@MODELS.register_module()
class NiNformer(Backbone):
    """NiNformer, its patches as one map after each chosen block, or its classifier.

    It gives no pyramid: put a `SimpleFeaturePyramid` behind its map. Its perceptrons over tokens are built for one size
    of picture.

    Args:
        arch: `cifar`, the published one; or a dict of `patch_size`, `d_model`, `d_ffn` and `num_layers`.
        image_size: pixels of a side, or (height, width), of every picture.
        in_channels: channels of the picture.
        out_indices: blocks whose maps to give; None for the last. Frozen stages are blocks too.
        num_classes: logits of the published classifier instead of maps; None for maps.
        drop_rate: of dropout in all perceptrons; the published network learns with 0.5.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first; the published network has none.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or block, the patches do not fill the picture, or, when called, a picture has
            another size.
    """

    def __init__(
        self,
        arch: str | dict = "cifar",
        image_size: int | Sequence[int] = 32,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        num_classes: int | None = None,
        drop_rate: float = 0.0,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("NiNformer", ARCHS, arch)
        patch, channels, depth = facts["patch_size"], facts["d_model"], facts["num_layers"]
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if any(side % patch for side in size):
            raise ValueError(f"NiNformer: image_size must be divisible by patch_size {patch}, got {image_size}")
        chosen = (depth - 1,) if out_indices is None else out_indices
        super().__init__([channels] * depth, [patch] * depth, chosen, frozen_stages, with_cp, init_cfg, num_classes)
        self.image_size = size
        tokens = (size[0] // patch) * (size[1] // patch)
        (rates,) = drop_path_rates(drop_path_rate, [depth])
        self.patcher = nn.Conv2d(in_channels, channels, patch, patch)
        self.blocks = nn.ModuleList(
            Block(tokens, channels, facts["d_ffn"], drop_rate, rate) for rate in rates[: self.built]
        )
        if num_classes is not None:
            self.classifier = nn.Linear(channels, num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        return [[self.patcher], *([block] for block in self.blocks)]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map (B, C, H / patch, W / patch) of every block that there is."""
        if tuple(x.shape[2:]) != self.image_size:
            raise ValueError(f"NiNformer: built for pictures of {self.image_size}, got {tuple(x.shape[2:])}")
        x = self.patcher(x)
        size, found = x.shape[2:], []
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = self.run(block, x)
            found.append(x.transpose(1, 2).unflatten(2, size))
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.classifier(x.mean((2, 3)))
