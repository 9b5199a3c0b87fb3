"""Anchor-free decoupled head of YOLOv8: box sides as distributions, targets aligned with the task.

Box sides: Generalized Focal Loss, NeurIPS 2020, arXiv 2006.04388. Assignment: TOOD: Task-aligned One-stage Object
Detection, ICCV 2021, arXiv 2108.07755. YOLOv8 itself has no paper.

    distance to a side = stride * sum over i of i * softmax(logits)_i, i = 0 ... reg_max - 1
"""

import math
from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps, distance2bbox
from mmdet.utils import reduce_mean
from mmengine.config import ConfigDict
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from toolkit.backbones.yolo_ms import round_up


def task_aligned_targets(
    scores: Tensor,
    bboxes: Tensor,
    points: Tensor,
    gt_bboxes: Tensor,
    gt_labels: Tensor,
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> tuple[Tensor, Tensor]:
    """Give each ground-truth box the points inside it that classify and locate it best.

    The alignment of a point with a box is score ** alpha * IoU ** beta; a box takes the `topk` points inside it of
    the highest alignment, and a point that several boxes take goes to the one that it overlaps most.

    Args:
        scores: (P, num_classes) in [0, 1].
        bboxes: (P, 4) predicted x1, y1, x2, y2 in pixels.
        points: (P, 2) x, y in pixels.
        gt_bboxes: (G, 4) in pixels.
        gt_labels: (G,).

    Returns:
        (P,) index of the box of each point, -1 for none, and (P,) target score: the alignment, scaled so that each
        box's best point has the box's best IoU.
    """
    if len(gt_bboxes) == 0:
        return gt_labels.new_full((len(points),), -1), scores.new_zeros(len(points))
    overlaps = bbox_overlaps(gt_bboxes, bboxes)  # (G, P)
    inside = torch.cat([points - gt_bboxes[:, None, :2], gt_bboxes[:, None, 2:] - points], -1).amin(-1) > 0
    alignment = scores[:, gt_labels].T ** alpha * overlaps**beta * inside
    best = alignment.topk(min(topk, len(points)), dim=1).indices
    taken = torch.zeros_like(inside).scatter_(1, best, True) & (alignment > 0)
    overlap, owner = overlaps.where(taken, -1.0).max(0)
    taken &= torch.arange(len(gt_bboxes), device=owner.device)[:, None] == owner
    alignment = alignment * taken
    peak = alignment.amax(1, keepdim=True).clamp(min=torch.finfo(alignment.dtype).tiny)
    target = (alignment / peak * (overlaps * taken).amax(1, keepdim=True)).amax(0)
    return owner.where(overlap >= 0, -1), target


@MODELS.register_module()
class YOLOv8Head(BaseDenseHead):
    """Two 3x3 convolutions and a 1x1 in each branch of each level, nothing shared.

    Args:
        num_classes: classes without the background.
        in_channels: the neck's widths before widening, finest first.
        widen_factor: times the widths, rounded up to multiples of 8.
        reg_max: bins of the distribution of each side's distance, which is at most (reg_max - 1) * stride.
        norm_cfg, act_cfg: of every convolution but the last of a branch.
        prior_generator: the points; its strides are those of the levels.
        bbox_coder: from distances in pixels to boxes.
        loss_cls, loss_bbox, loss_dfl: their weights are the published ones.
        train_cfg: `topk`, `alpha` and `beta` of `task_aligned_targets`.
        test_cfg: `score_thr`, `nms_pre`, `nms` and `max_per_img`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int] = (320, 640, 1280),
        widen_factor: float = 1.0,
        reg_max: int = 16,
        norm_cfg: dict = dict(type="BN", momentum=0.03, eps=0.001),
        act_cfg: dict = dict(type="SiLU", inplace=True),
        prior_generator: dict = dict(type="MlvlPointGenerator", offset=0.5, strides=[8, 16, 32]),
        bbox_coder: dict = dict(type="DistancePointBBoxCoder"),
        loss_cls: dict = dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=0.5),
        loss_bbox: dict = dict(type="CIoULoss", loss_weight=7.5),
        loss_dfl: dict = dict(type="DistributionFocalLoss", loss_weight=0.375),
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        self.num_classes = self.cls_out_channels = num_classes
        self.use_sigmoid_cls = True
        self.reg_max = reg_max
        self.train_cfg, self.test_cfg = ConfigDict(train_cfg or {}), ConfigDict(test_cfg or {})
        self.prior_generator = TASK_UTILS.build(prior_generator)
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.loss_cls, self.loss_bbox, self.loss_dfl = map(MMDET_MODELS.build, (loss_cls, loss_bbox, loss_dfl))
        widths = [round_up(channels * widen_factor) for channels in in_channels]
        cls_width = max(widths[0], num_classes)
        reg_width = max(16, widths[0] // 4, 4 * reg_max)

        def branch(width: int, hidden: int, out: int) -> nn.Sequential:
            cfg = dict(padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg)
            return nn.Sequential(
                ConvModule(width, hidden, 3, **cfg), ConvModule(hidden, hidden, 3, **cfg), nn.Conv2d(hidden, out, 1)
            )

        self.cls_preds = nn.ModuleList(branch(width, cls_width, num_classes) for width in widths)
        self.reg_preds = nn.ModuleList(branch(width, reg_width, 4 * reg_max) for width in widths)
        self.register_buffer("bins", torch.arange(reg_max, dtype=torch.float), persistent=False)

    @property
    def strides(self) -> list[int]:
        return [stride[0] for stride in self.prior_generator.strides]

    def init_weights(self) -> None:
        """Start from about five objects in a picture of 640 pixels, and boxes of half the bins' range."""
        super().init_weights()
        for stride, cls_pred, reg_pred in zip(self.strides, self.cls_preds, self.reg_preds, strict=True):
            nn.init.constant_(cls_pred[-1].bias, math.log(5 / self.num_classes / (640 / stride) ** 2))
            nn.init.constant_(reg_pred[-1].bias, 1.0)

    def logits(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits (B, num_classes, H, W) and side logits (B, 4, reg_max, H, W) of each level."""
        cls_scores = [pred(x) for pred, x in zip(self.cls_preds, feats, strict=True)]
        sides = [pred(x).unflatten(1, (4, self.reg_max)) for pred, x in zip(self.reg_preds, feats, strict=True)]
        return cls_scores, sides

    def distances(self, sides: Sequence[Tensor]) -> list[Tensor]:
        """Side logits (B, 4, reg_max, H, W) of each level -> distances (B, 4, H, W) in pixels."""
        bins = self.bins.view(-1, 1, 1)
        return [(x.softmax(2) * bins).sum(2) * stride for x, stride in zip(sides, self.strides, strict=True)]

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits (B, num_classes, H, W) and distances to the sides (B, 4, H, W) in pixels of each level."""
        cls_scores, sides = self.logits(feats)
        return cls_scores, self.distances(sides)

    def loss(self, x: Sequence[Tensor], batch_data_samples: list) -> dict[str, Tensor]:
        """The three losses of a batch."""
        gt_instances, _, _ = unpack_gt_instances(batch_data_samples)
        return self.loss_by_feat(*self.logits(x), gt_instances)

    def loss_by_feat(
        self, cls_scores: list[Tensor], sides: list[Tensor], batch_gt_instances: list[InstanceData]
    ) -> dict[str, Tensor]:
        """Losses from the output of `logits`, times the pictures of the batch: the published rates expect a sum."""
        sizes = [score.shape[-2:] for score in cls_scores]
        priors = torch.cat(
            self.prior_generator.grid_priors(sizes, device=cls_scores[0].device, with_stride=True)
        )  # (P, 4): x, y, stride, stride
        points, strides = priors[:, :2], priors[:, 2:3]
        scores = torch.cat([score.flatten(2).mT for score in cls_scores], 1).float()  # (B, P, num_classes)
        bins = torch.cat([side.flatten(3).permute(0, 3, 1, 2) for side in sides], 1).float()  # (B, P, 4, reg_max)
        distances = (bins.softmax(-1) * self.bins).sum(-1) * strides  # (B, P, 4)
        bboxes = distance2bbox(points.expand(len(scores), -1, -1), distances)

        cls_targets = torch.zeros_like(scores)
        positive, gt_bboxes = [], []
        for i, gt in enumerate(batch_gt_instances):
            owner, target = task_aligned_targets(
                scores[i].detach().sigmoid(), bboxes[i].detach(), points, gt.bboxes, gt.labels, **self.train_cfg
            )
            index = (owner >= 0).nonzero().squeeze(1)
            cls_targets[i, index, gt.labels[owner[index]]] = target[index]
            positive.append(torch.stack([torch.full_like(index, i), index]))
            gt_bboxes.append(gt.bboxes[owner[index]])
        image, index = torch.cat(positive, 1)
        gt_bboxes = torch.cat(gt_bboxes)
        weight = cls_targets[image, index].sum(-1)  # (N,)
        total = reduce_mean(weight.sum()).clamp(min=1)
        side_targets = self.side_targets(points[index], gt_bboxes, strides[index])
        losses = dict(
            loss_cls=self.loss_cls(scores.flatten(0, 1), cls_targets.flatten(0, 1), avg_factor=total),
            loss_bbox=self.loss_bbox(bboxes[image, index], gt_bboxes, weight=weight, avg_factor=total),
            loss_dfl=self.loss_dfl(
                bins[image, index].flatten(0, 1),
                side_targets.flatten(),
                weight=weight.repeat_interleave(4),
                avg_factor=total,
            ),
        )
        pictures = len(scores) * get_world_size()
        return {name: loss * pictures for name, loss in losses.items()}

    def side_targets(self, points: Tensor, bboxes: Tensor, strides: Tensor) -> Tensor:
        """Distances from points (N, 2) to the sides of boxes (N, 4) in strides, kept within the bins: (N, 4)."""
        distances = torch.cat([points - bboxes[:, :2], bboxes[:, 2:] - points], 1) / strides
        return distances.clamp(min=0, max=self.reg_max - 1.01)
