"""KeypointHead: where boxes have their corners and centres, as heat maps with offsets on every level of a pyramid.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

    heat of a cell = max over boxes of exp(-d^2 / 2 sigma^2),  d to the cell nearest to the box's keypoint
    sigma = (2 r + 1) / 6,  r from `corner_radius`;  keypoint = cell + stride * offset

All positions are (x, y) in pixels of the network's input; cell (column, row) of a level lies at
stride * (column, row) + stride // 2.
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import reduce_mean
from mmengine.model import BaseModule, bias_init_with_prob
from mmengine.registry import MODELS
from torch import Tensor, nn

KEYPOINT_TYPES = ("top_left_corner", "bottom_right_corner", "center")
MIN_IOU = 0.7  # of a box whose corner is off by `corner_radius`
Heat = list[tuple[Tensor, Tensor]]  # for each level class logits (B, num_classes, H, W) and offsets (B, 2, H, W)


def cell_positions(size: int, stride: int, like: Tensor) -> Tensor:
    """Where the `size` columns (or rows) of a level lie, in pixels: (size,)."""
    return torch.arange(size, dtype=like.dtype, device=like.device) * stride + stride // 2


def keypoints_of(boxes: Tensor, kind: str) -> Tensor:
    """The keypoint of one kind of each box: (N, 4) as x1, y1, x2, y2 -> (N, 2)."""
    if kind == "top_left_corner":
        return boxes[:, :2]
    if kind == "bottom_right_corner":
        return boxes[:, 2:]
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def corner_radius(boxes: Tensor) -> Tensor:
    """How far the corners of boxes may move so that the box keeps `MIN_IOU` with its old self: (N, 4) -> (N,).

    The least of three cases: one corner in and one out, both in, both out. CornerNet (ECCV 2018, arXiv 1808.01244)
    has the idea; its code divides the last two wrongly, this does not.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    around, area = width + height, width * height
    shifted = (around - (around**2 - 4 * area * (1 - MIN_IOU) / (1 + MIN_IOU)).sqrt()) / 2
    inside = (2 * around - (4 * around**2 - 16 * area * (1 - MIN_IOU)).sqrt()) / 8
    outside = ((4 * MIN_IOU**2 * around**2 + 16 * MIN_IOU * (1 - MIN_IOU) * area).sqrt() - 2 * MIN_IOU * around) / (
        8 * MIN_IOU
    )
    return torch.stack([shifted, inside, outside]).amin(0)


def level_targets(boxes: Tensor, labels: Tensor, kind: str, size: tuple[int, int], stride: int) -> tuple[Tensor, ...]:
    """What one level should say about the boxes of one image.

    Every box is positive on every level. Where boxes share a cell, the one that comes first wins.

    Args:
        boxes: (N, 4), pixels; N may be 0.
        labels: (N,).
        size: H and W of the level.

    Returns:
        heat (H, W) in 0 to 1, exactly 1 at positive cells; its class (H, W); offset (H, W, 2) in strides, 0 where not
        positive; positive (H, W).
    """
    height, width = size
    if not len(boxes):
        zeros = boxes.new_zeros(size)
        return zeros, zeros.long(), boxes.new_zeros(height, width, 2), zeros.bool()
    points = keypoints_of(boxes, kind)
    limit = points.new_tensor([width - 1, height - 1])
    cells = ((points - stride // 2) / stride - 0.5).ceil().clamp(min=0).minimum(limit)  # halves to the first cell
    centres = cells * stride + stride // 2
    sigma = (2 * corner_radius(boxes) + 1) / 6
    xs, ys = cell_positions(width, stride, boxes), cell_positions(height, stride, boxes)
    along_x, along_y = (
        torch.exp(-((grid - centre.unsqueeze(1)) ** 2) / (2 * sigma**2).unsqueeze(1))
        for grid, centre in zip((xs, ys), centres.unbind(1), strict=True)
    )  # (N, W), (N, H)
    heats = along_y.unsqueeze(2) * along_x.unsqueeze(1)  # (N, H, W)
    box = heats.argmax(0)  # the first one where several have heat 1
    columns, rows = cells.long().unbind(1)
    positive = torch.zeros(size, dtype=torch.bool, device=boxes.device)
    positive[rows, columns] = True
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), 2)  # (H, W, 2)
    offset = (points[box] - grid) / stride * positive.unsqueeze(2)
    return heats.amax(0), labels[box], offset, positive


@MODELS.register_module()
class KeypointHead(BaseModule):
    """Class heat maps and offsets of keypoints, with convolutions that all levels share.

    Published checkpoints do not tell how the class branch began; here it begins at a probability of 0.01.

    Args:
        num_classes: classes of the detector.
        in_channels: C of the pyramid.
        strides: of the levels, in pixels.
        feat_channels: channels of the towers.
        stacked_convs: convolutions in the tower of a keypoint type, at least 1.
        logits_convs: further convolutions before the last one in each of the two branches.
        norm_cfg: norm after each convolution but the last; None for a bias instead.
        keypoint_types: of `KEYPOINT_TYPES`.
        loss_cls: loss of the heat maps, on probabilities.
        loss_offset: loss of the offsets at positive cells, in strides.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        feat_channels: int = 256,
        stacked_convs: int = 2,
        logits_convs: int = 1,
        norm_cfg: dict | None = None,
        keypoint_types: Sequence[str] = KEYPOINT_TYPES,
        loss_cls: dict = dict(type="GaussianFocalLoss", loss_weight=0.25),
        loss_offset: dict = dict(type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
        init_cfg: dict | None = dict(type="Normal", layer="Conv2d", std=0.01),
    ):
        super().__init__(init_cfg)
        unknown = set(keypoint_types) - set(KEYPOINT_TYPES)
        if unknown:
            raise ValueError(f"KeypointHead: keypoint_types are of {KEYPOINT_TYPES}, got {sorted(unknown)}")
        if stacked_convs < 1:
            raise ValueError(f"KeypointHead: stacked_convs must be at least 1, got {stacked_convs}")
        self.strides = tuple(strides)
        self.loss_cls = MMDET_MODELS.build(loss_cls)
        self.loss_offset = MMDET_MODELS.build(loss_offset)

        def conv(channels: int) -> ConvModule:
            return ConvModule(channels, feat_channels, 3, padding=1, norm_cfg=norm_cfg)

        def tower() -> nn.Sequential:
            return nn.Sequential(conv(in_channels), *(conv(feat_channels) for _ in range(stacked_convs - 1)))

        def branch(out_channels: int) -> nn.Sequential:
            last = nn.Conv2d(feat_channels, out_channels, 3, padding=1)
            return nn.Sequential(*(conv(feat_channels) for _ in range(logits_convs)), last)

        self.keypoint_layers = nn.ModuleDict({kind: tower() for kind in keypoint_types})
        self.keypoint_cls_heads = nn.ModuleDict({kind: branch(num_classes) for kind in keypoint_types})
        self.keypoint_offset_heads = nn.ModuleDict({kind: branch(2) for kind in keypoint_types})

    def init_weights(self) -> None:
        super().init_weights()
        for head in self.keypoint_cls_heads.values():
            nn.init.constant_(head[-1].bias, bias_init_with_prob(0.01))

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Heat]:
        """Levels (B, C, H, W) -> for each keypoint type its maps on each level."""
        heats: dict[str, Heat] = {}
        for kind, tower in self.keypoint_layers.items():
            levels = [tower(feat) for feat in feats]
            cls_head, offset_head = self.keypoint_cls_heads[kind], self.keypoint_offset_heads[kind]
            heats[kind] = [(cls_head(level), offset_head(level)) for level in levels]
        return heats

    def loss(self, heats: dict[str, Heat], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses `loss_keypoint_cls` and `loss_keypoint_offset`, each summed over types, levels and images.

        Both are divided by the number of positive cells in all of them. Images without boxes have heat 0 everywhere.
        """
        instances = unpack_gt_instances(batch_data_samples)[0]
        logits, targets, offsets, offset_targets, positives = [], [], [], [], []
        for kind, levels in heats.items():
            for stride, (scores, offset) in zip(self.strides, levels, strict=True):
                size = tuple(scores.shape[-2:])
                image_targets = [
                    level_targets(get_box_tensor(image.bboxes).float(), image.labels, kind, size, stride)
                    for image in instances
                ]
                heat, label, offset_target, positive = (
                    torch.stack(parts) for parts in zip(*image_targets, strict=True)
                )
                target = scores.new_zeros(scores.shape, dtype=torch.float32).scatter_(1, label[:, None], heat[:, None])
                logits.append(scores.float().flatten())
                targets.append(target.flatten())
                offsets.append(offset.float().permute(0, 2, 3, 1)[positive])
                offset_targets.append(offset_target[positive])
                positives.append(positive.sum())
        count = reduce_mean(torch.stack(positives).sum().float()).clamp(min=1)
        scores, targets = torch.cat(logits).sigmoid(), torch.cat(targets)
        return dict(
            loss_keypoint_cls=self.loss_cls(scores, targets, avg_factor=count),
            loss_keypoint_offset=self.loss_offset(torch.cat(offsets), torch.cat(offset_targets), avg_factor=count),
        )
