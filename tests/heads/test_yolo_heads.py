"""Heads of YOLO-MS and YOLOv8: assignment, decoding and losses."""

from itertools import product

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from toolkit.ops import load_mmdet

load_mmdet()

from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402

from toolkit.heads.yolov8 import task_aligned_targets  # noqa: E402

TEST_CFG = dict(nms_pre=1000, min_bbox_size=0, score_thr=0.3, nms=dict(type="nms", iou_threshold=0.6), max_per_img=10)
YOLO_MS = dict(
    type="YOLOMSHead",
    num_classes=3,
    in_channels=8,
    feat_channels=8,
    train_cfg=dict(assigner=dict(type="DynamicSoftLabelAssigner", topk=13), allowed_border=-1, pos_weight=-1),
    test_cfg=TEST_CFG,
)
YOLOV8 = dict(type="YOLOv8Head", num_classes=3, in_channels=[8, 8, 8], train_cfg=dict(topk=10), test_cfg=TEST_CFG)
HEADS = [YOLO_MS, YOLOV8]
pytestmark = pytest.mark.usefixtures("mmdet_scope")
IDS = [head["type"] for head in HEADS]


def sample(bboxes: list[list[float]], labels: list[int], size: int = 128) -> DetDataSample:
    data = DetDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size)))
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(bboxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long)
    )
    return data


def features(count: int, size: int = 128) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(count, 8, size // stride, size // stride) for stride in (8, 16, 32)]


def build(cfg: dict) -> nn.Module:
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(cfg))
    head.init_weights()
    return head.train()


def total(losses: dict) -> Tensor:
    return sum(sum(loss) if isinstance(loss, list | tuple) else loss for loss in losses.values())


@pytest.mark.parametrize("cfg", HEADS, ids=IDS)
def test_a_head_learns_to_find_the_boxes(cfg: dict) -> None:
    """Overfit two boxes on fixed features: the loss falls and `predict` gives the boxes and classes back."""
    head, x = build(cfg), features(2)
    boxes, labels = [[8.0, 16.0, 56.0, 72.0], [64.0, 70.0, 120.0, 118.0]], [2, 0]
    batch = [sample(boxes, labels), sample([], [])]
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    losses = []
    for _ in range(120):
        loss = total(head.loss(x, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        found, empty = head.predict(x, batch)
    assert len(empty) == 0
    best = [found[found.labels == label][0] for label in labels]
    assert all((match.bboxes[0] - torch.tensor(box)).abs().max() < 4 for match, box in zip(best, boxes, strict=True))


@pytest.mark.parametrize("cfg", HEADS, ids=IDS)
def test_pictures_without_boxes_train_the_classes_alone(cfg: dict) -> None:
    losses = build(cfg).loss(features(2), [sample([], []), sample([], [])])
    assert total(losses).isfinite()
    assert total({name: loss for name, loss in losses.items() if name != "loss_cls"}) == 0
    total(losses).backward()


def test_yolo_ms_gives_distances_in_pixels_linear_in_its_last_layer() -> None:
    head, x = build(YOLO_MS).eval(), features(1)
    for conv in head.rtm_reg:
        nn.init.zeros_(conv.weight)
        conv.bias.data = torch.tensor([1.0, 2.0, 3.0, -0.5])
    for distances, stride in zip(head(x)[1], (8, 16, 32), strict=True):
        want = torch.tensor([1.0, 2.0, 3.0, -0.5]).view(1, 4, 1, 1) * stride
        torch.testing.assert_close(distances, want.expand_as(distances))


def test_yolo_ms_shares_convolutions_and_not_norms() -> None:
    head = build(YOLO_MS)
    for branch in (head.cls_convs, head.reg_convs):
        for first, other in product(branch[:1], branch[1:]):
            assert all(a.conv is b.conv and a.bn is not b.bn for a, b in zip(first, other, strict=True))
            assert all(isinstance(module.activate, nn.LeakyReLU) for module in other)


def test_yolov8_decodes_the_targets_that_it_trains_on() -> None:
    """Logits that put all weight on the two bins round each target give the ground-truth box back."""
    head = build(YOLOV8)
    stride, box = 8, torch.tensor([[13.0, 21.0, 71.0, 50.0]])
    point = torch.tensor([[36.0, 36.0]])
    targets = head.side_targets(point, box, torch.tensor([[stride]]))[0]  # (4,) in strides
    torch.testing.assert_close(targets * stride, torch.tensor([23.0, 15.0, 35.0, 14.0]))
    low = targets.long()
    weight = torch.zeros(4, head.reg_max)
    weight[range(4), low] = 1 - (targets - low)
    weight[range(4), low + 1] = targets - low
    sides = weight.clamp(min=1e-30).log().view(1, 4, head.reg_max, 1, 1)
    distances = head.distances([sides, sides, sides])[0].flatten()
    torch.testing.assert_close(distances, targets * stride)
    loss = head.loss_dfl(sides.flatten(0, 1).flatten(1), targets)
    entropy = -(weight * weight.clamp(min=1e-30).log()).sum(1).mean() * head.loss_dfl.loss_weight
    torch.testing.assert_close(loss, entropy)  # the least that the loss can be
    far = head.side_targets(point, torch.tensor([[-1e4, 40.0, 1e4, 1e4]]), torch.tensor([[stride]]))
    assert far.min() == 0
    assert far.max() < head.reg_max - 1


def iou(a: Tensor, b: Tensor) -> float:
    width = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
    union = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)) - width * height
    return width * height / union


def slow_targets(scores, bboxes, points, gt_bboxes, gt_labels, topk, alpha, beta):
    """The assignment of the paper in loops over boxes and points."""
    metric, overlap, claims = {}, {}, {}
    for g, (box, label) in enumerate(zip(gt_bboxes, gt_labels, strict=True)):
        inside = [p for p, (x, y) in enumerate(points.tolist()) if box[0] < x < box[2] and box[1] < y < box[3]]
        for p in inside:
            overlap[g, p] = iou(bboxes[p], box)
            metric[g, p] = float(scores[p, label]) ** alpha * overlap[g, p] ** beta
        for p in sorted(inside, key=lambda p, g=g: -metric[g, p])[:topk]:
            if metric[g, p] > 0:
                claims.setdefault(p, []).append(g)
    owner = [max(claims[p], key=lambda g, p=p: overlap[g, p]) if p in claims else -1 for p in range(len(points))]
    target = [0.0] * len(points)
    for g in range(len(gt_bboxes)):
        mine = [p for p in range(len(points)) if owner[p] == g]
        if mine:
            peak, best = max(metric[g, p] for p in mine), max(overlap[g, p] for p in mine)
            for p in mine:
                target[p] = metric[g, p] / peak * best
    return owner, target


@pytest.mark.parametrize("seed", range(4))
def test_task_aligned_targets_are_the_paper_s(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.stack(torch.meshgrid(torch.arange(4.0, 96, 8), torch.arange(4.0, 96, 8), indexing="xy"), -1)
    points = points.reshape(-1, 2).double()
    scores = torch.rand(len(points), 3, generator=generator, dtype=torch.float64)
    sides = torch.rand(len(points), 4, generator=generator, dtype=torch.float64) * 40
    bboxes = torch.cat([points - sides[:, :2], points + sides[:, 2:]], 1)
    corner = torch.rand(5, 2, generator=generator, dtype=torch.float64) * 50
    gt_bboxes = torch.cat([corner, corner + 12 + torch.rand(5, 2, generator=generator, dtype=torch.float64) * 40], 1)
    gt_labels = torch.randint(3, (5,), generator=generator)
    arguments = (scores, bboxes, points, gt_bboxes, gt_labels)
    owner, target = task_aligned_targets(*arguments, topk=6, alpha=0.5, beta=6.0)
    slow_owner, slow_target = slow_targets(*arguments, topk=6, alpha=0.5, beta=6.0)
    assert owner.tolist() == slow_owner
    assert (owner >= 0).any()
    torch.testing.assert_close(target, torch.tensor(slow_target, dtype=torch.float64))
