"""The frame of ConvNeXt's kind: a downsampling layer before each stage of equal blocks, then norms or a classifier.

A ConvNet for the 2020s, CVPR 2022, arXiv 2201.03545.
"""

from collections.abc import Sequence

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from toolkit.backbones.base import Backbone


class Pyramid(Backbone):
    """Stages at strides 4, 8, 16, 32 whose maps come out with a channel norm each, or a classifier of the last one.

    Args:
        dims: channels of each stage.
        layers: for each stage its downsampling layer and its blocks, which go through `run`.
        out_indices: stages whose maps to give.
        num_classes: logits of a classifier instead of maps; None for maps. Then what lies behind the last of
            `out_indices` is left out.
        frozen_stages, with_cp, init_cfg: see `Backbone`.
    """

    def __init__(
        self,
        dims: Sequence[int],
        layers: Sequence[tuple[nn.Module, Sequence[nn.Module]]],
        out_indices: Sequence[int],
        num_classes: int | None,
        frozen_stages: int,
        with_cp: bool,
        init_cfg: dict | list[dict] | None,
    ):
        super().__init__(dims, (4, 8, 16, 32), out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        used = layers[: self.built]
        self.downsample_layers = nn.ModuleList(down for down, _ in used)
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for _, blocks in used)
        if num_classes is None:
            for i, dim in zip(self.out_indices, self.out_channels, strict=True):
                self.add_module(f"norm{i}", LayerNorm2d(dim, eps=1e-6))
        else:
            self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
            self.head = nn.Linear(dims[-1], num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        stem, *downs = self.downsample_layers
        first, *others = self.stages
        return [[stem], [first], *([down, stage] for down, stage in zip(downs, others, strict=True))]

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """(B, in_channels, H, W) -> maps (B, C_i, H / s_i, W / s_i), or logits (B, num_classes)."""
        maps = self.maps(x)
        if self.num_classes is not None:
            return self.logits(maps[-1])
        return tuple(getattr(self, f"norm{i}")(maps[i]) for i in self.out_indices)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The bare map of every stage that there is."""
        found = []
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = self.run_each(stage, down(x))
            found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.head(self.norm(x.mean((2, 3))))
