"""The towers of mmdet's dense heads: run apart from the head, or left out of it.

A dense head (RetinaNet, FCOS, ATSS, GFL and those derived from them) runs each level through two towers, `cls_convs`
and `reg_convs`, and then through its last convolutions. `detach_towers` lets the same head take, instead of a map,
the pair (class map, box map) of a level: its last convolutions, scales, losses and predictions stay as they are, and
so do its parameters' names.
"""

from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

Pair = tuple[Tensor, Tensor]  # class map and box map of one level, each (B, C, H, W)


class Tower(nn.Sequential):
    """Layers in a row that a head's loop over them passes by: to the loop it is one step, taking its map of a pair.

    Args:
        layers: the layers of the head's own tower; it may be empty.
        side: 0 for the class map of a pair, 1 for the box map.
    """

    def __init__(self, layers: nn.ModuleList, side: int):
        super().__init__(*layers)
        self.side = side

    def __iter__(self) -> Iterator:
        yield itemgetter(self.side)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, feat_channels, H, W)
        for layer in self._modules.values():
            x = layer(x)
        return x


def detach_towers(head: "BaseDenseHead") -> None:
    """Let `head` take pairs of maps; its towers, `head.cls_convs` and `head.reg_convs`, become callable by themselves.

    Raises:
        ValueError: the head has no such towers.
    """
    for side, name in enumerate(("cls_convs", "reg_convs")):
        layers = getattr(head, name, None)
        if not isinstance(layers, nn.ModuleList):
            raise ValueError(f"{type(head).__name__}: a dense head with towers cls_convs and reg_convs is needed")
        setattr(head, name, Tower(layers, side))
