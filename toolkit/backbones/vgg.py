"""VGG: plain stacks of 3x3 convolutions, with batch norms (16 layers) or without (19 layers).

Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, arXiv 1409.1556.

    stage i: n_i times (3x3 convolution, [batch norm,] ReLU), then halve by a 2x2 maximum
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.backbones.base import Backbone

WIDTHS = (64, 128, 256, 512, 512)
STRIDES = (1, 2, 4, 8, 16)


def conv_block(in_channels: int, out_channels: int, kernel_size: int, norm: bool) -> nn.Sequential:
    """Convolution with bias, batch norm if asked for, ReLU; the size stays."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    layers: dict[str, nn.Module] = {"conv": conv}
    if norm:
        layers["bn"] = nn.BatchNorm2d(out_channels)
    return nn.Sequential(OrderedDict(layers, act=nn.ReLU(inplace=True)))


class VGG(Backbone):
    """The convolutions of a VGG, `conv{stage}_{place}`, and what each stage gives before it is halved.

    Weights in torchvision's names (`features.0.weight`, from torchvision or timm) load too.

    Args:
        depths: convolutions of each stage.
        norm: batch norm after each.
        in_channels: channels of the picture.
        widen_factor: times the widths 64, 128, 256, 512, 512.
        out_indices: which stages to give, 0 for stride 1 to 4 for stride 16; those after the last are not built.
        frozen_stages: keep this many stages as they are in training; -1 or 0 freezes nothing.
        with_cp: recompute the stages in the backward pass to save memory.
        init_cfg: as mmengine's.
    """

    def __init__(
        self,
        depths: Sequence[int],
        norm: bool,
        in_channels: int = 3,
        widen_factor: float = 1.0,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        widths = [max(1, round(width * widen_factor)) for width in WIDTHS]
        super().__init__(widths, STRIDES, out_indices, frozen_stages, with_cp, init_cfg)
        self.depths = tuple(depths)
        for stage, width in enumerate(widths[: self.built]):
            for place in range(depths[stage]):
                self.add_module(f"conv{stage + 1}_{place + 1}", conv_block(in_channels, width, 3, norm))
                in_channels = width
        self.register_load_state_dict_pre_hook(_from_torchvision)
        self.freeze()

    def blocks(self, stage: int) -> list[nn.Module]:
        """The convolutions of `stage`, from 0."""
        return [getattr(self, f"conv{stage + 1}_{place + 1}") for place in range(self.depths[stage])]

    def parts(self) -> list[list[nn.Module]]:
        return [[], *(self.blocks(stage) for stage in range(self.built))]

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        """The convolutions of `stage`: (B, C, H, W) -> (B, C', H, W)."""

        def convolutions(x: Tensor) -> Tensor:
            for block in self.blocks(stage):
                x = block(x)
            return x

        return self.run(convolutions, x)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        found = []
        for stage in range(self.built):
            x = self.run_stage(stage, F.max_pool2d(x, 2) if stage else x)
            found.append(x)
        return found

    def pooled(self, x: Tensor, stages: int) -> tuple[list[Tensor], list[Tensor]]:
        """What the first `stages` stages give once halved, and where each maximum came from.

        Returns:
            maps (B, C_i, H / 2 s_i, W / 2 s_i), and as many places for `F.max_unpool2d`.
        """
        maps, places = [], []
        for stage in range(stages):
            x, place = F.max_pool2d(self.run_stage(stage, x), 2, return_indices=True)
            maps.append(x)
            places.append(place)
        return maps, places


def _from_torchvision(vgg: VGG, state: dict, prefix: str, *_: object) -> None:
    """Rename torchvision's numbered layers in `state`: each convolution, its norm, its ReLU, and a pool a stage."""
    if not any(key.startswith(f"{prefix}features.") for key in state):
        return
    parts = list(vgg.conv1_1._modules)
    names, number = {}, 0
    for stage, depth in enumerate(vgg.depths):
        for place in range(depth):
            names |= {number + i: f"conv{stage + 1}_{place + 1}.{part}" for i, part in enumerate(parts)}
            number += len(parts)
        number += 1
    for key in [key for key in state if key.startswith(prefix)]:
        value = state.pop(key)
        kind, _, rest = key.removeprefix(prefix).partition(".")
        number, _, leaf = rest.partition(".")
        if kind == "features" and leaf:
            name = names[int(number)]
            if hasattr(vgg, name.partition(".")[0]):
                state[f"{prefix}{name}.{leaf}"] = value
        elif kind not in ("classifier", "pre_logits", "head"):
            state[key] = value


@MODELS.register_module()
class VGG16BN(VGG):
    """The 13 convolutions of VGG-16 with batch norms. Takes the arguments of `VGG` from `in_channels` on."""

    def __init__(self, in_channels: int = 3, **kwargs):
        super().__init__((2, 2, 3, 3, 3), True, in_channels, **kwargs)


@MODELS.register_module()
class VGG19(VGG):
    """The 16 convolutions of VGG-19, without norms. Takes the arguments of `VGG` from `in_channels` on."""

    def __init__(self, in_channels: int = 3, **kwargs):
        super().__init__((2, 2, 4, 4, 4), False, in_channels, **kwargs)
