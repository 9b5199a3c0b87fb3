"""SEPCHead: a dense head that takes a class map and a box map of each level, as the neck SEPC gives them.

Scale-Equalizing Pyramid Convolution for Object Detection, CVPR 2020, arXiv 2005.03101.
"""

from collections.abc import Iterator, Mapping

from mmdet.models.task_modules.coders import TBLRBBoxCoder
from mmdet.registry import MODELS as DETECTION_MODELS
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from toolkit.heads.towers import Tower, detach_towers


class TowerOfPair(Tower):
    """A tower that takes its map of a pair and then runs its layers, if it has any."""

    def __iter__(self) -> Iterator:
        yield from super().__iter__()
        yield from self._modules.values()


@MODELS.register_module()
def SEPCHead(bbox_head: Mapping, train_cfg: Mapping | None = None, test_cfg: Mapping | None = None) -> nn.Module:
    """The head of `bbox_head` itself, whose towers read the pair (class map, box map) of each level.

    Layers, losses, predictions and the names of the parameters stay those of the head. The published detectors have
    `stacked_convs=0`: the neck takes the place of the towers.

    Args:
        bbox_head: config of a dense head of mmdet with towers `cls_convs` and `reg_convs`: RetinaHead,
            FreeAnchorRetinaHead, FSAFHead, ATSSHead, FCOSHead, GFLHead and heads derived from these.
        train_cfg, test_cfg: those of the detector, which hands them on.

    Raises:
        ValueError: the head has no such towers.
    """
    head = DETECTION_MODELS.build(dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg))
    detach_towers(head)
    for side, name in enumerate(("cls_convs", "reg_convs")):
        setattr(head, name, TowerOfPair(getattr(head, name)._modules.values(), side))
    return head


@TASK_UTILS.register_module()
class BTLRBBoxCoder(TBLRBBoxCoder):
    """Distances from an anchor's centre in the order bottom, top, left, right, as SEPC's published FSAF has them."""

    ORDER = (1, 0, 2, 3)

    def encode(self, bboxes: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Anchors and boxes (N, 4) as x1, y1, x2, y2 -> distances (N, 4)."""
        return super().encode(bboxes, gt_bboxes)[..., self.ORDER]

    def decode(self, bboxes: Tensor, pred_bboxes: Tensor, max_shape: tuple[int, int] | None = None) -> Tensor:
        """Anchors and distances (N, 4) -> boxes (N, 4) as x1, y1, x2, y2, cut at `max_shape` (H, W)."""
        return super().decode(bboxes, pred_bboxes[..., self.ORDER], max_shape)
