import math

import mmcv.ops
import pytest
import torch
from torch import Tensor


def random_boxes(count: int) -> tuple[Tensor, Tensor]:
    corner = torch.rand(count, 2) * 60
    return torch.cat([corner, corner + 5 + torch.rand(count, 2) * 40], 1), torch.rand(count)


def iou(a: list[float], b: list[float], offset: int) -> float:
    def area(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(x2 - x1 + offset, 0) * max(y2 - y1 + offset, 0)

    common = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return common / (area(*a) + area(*b) - common)


def greedy(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    keep: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(boxes[i].tolist(), boxes[j].tolist(), offset) <= threshold for j in keep):
            keep.append(i)
    return keep


def soft(boxes: Tensor, scores: Tensor, threshold: float, sigma: float, low: float, method: str, offset: int):
    waiting = dict(enumerate(scores.tolist()))
    done = []
    while waiting:
        best = max(waiting, key=waiting.get)
        done.append((best, waiting.pop(best)))
        for i in list(waiting):
            overlap = iou(boxes[best].tolist(), boxes[i].tolist(), offset)
            if method == "gaussian":
                waiting[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                waiting[i] *= 0 if method == "naive" else 1 - overlap
            if waiting[i] < low:
                del waiting[i]
    return done


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_nms_equals_greedy_suppression(offset, threshold):
    boxes, scores = random_boxes(120)
    dets, keep = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
    assert keep.tolist() == greedy(boxes, scores, threshold, offset)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])


def test_offset_widens_small_boxes():
    boxes = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1]])  # they touch; with one more pixel they share a third
    scores = torch.tensor([0.9, 0.8])
    assert len(mmcv.ops.nms(boxes, scores, 0.3, offset=0)[1]) == 2
    assert len(mmcv.ops.nms(boxes, scores, 0.3, offset=1)[1]) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_nms_takes_any_precision_and_mixtures(dtype):
    boxes, scores = random_boxes(50)
    boxes = boxes.round()
    expected = mmcv.ops.nms(boxes, scores, 0.5)[1]
    assert torch.equal(mmcv.ops.nms(boxes.to(dtype), scores, 0.5)[1], expected)


def test_no_boxes_give_no_indices():
    empty = torch.zeros(0, 4), torch.zeros(0)
    assert mmcv.ops.nms(*empty, 0.5)[1].tolist() == []
    assert mmcv.ops.soft_nms(*empty)[1].tolist() == []


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_its_definition(method, offset):
    boxes, scores = random_boxes(60)
    dets, keep = mmcv.ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    expected = soft(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    assert keep.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[keep])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))


def test_soft_nms_leaves_its_inputs_alone():
    boxes, scores = random_boxes(20)
    copies = boxes.clone(), scores.clone()
    mmcv.ops.soft_nms(boxes, scores)
    assert torch.equal(boxes, copies[0])
    assert torch.equal(scores, copies[1])


def test_soft_nms_fills_gaps_from_the_end():
    """Boxes of equal score come out in the order that swapping a dropped box with the last one leaves."""
    apart = [[100.0 * i, 0, 100 * i + 10, 10] for i in range(3)]
    boxes = torch.tensor([[0.0, 50, 10, 60], [0, 50, 10, 60], *apart])
    scores = torch.tensor([0.9, 0.5, 0.4, 0.4, 0.4])
    assert mmcv.ops.soft_nms(boxes, scores, method="naive")[1].tolist() == [0, 4, 2, 3]


def test_nms_match_groups_every_box_with_its_suppressor():
    boxes, scores = random_boxes(80)
    groups = mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    heads = [group[0].item() for group in groups]
    assert heads == greedy(boxes, scores, 0.4, 0)
    assert sorted(i for group in groups for i in group.tolist()) == list(range(80))
    for number, group in enumerate(groups):
        assert scores[group].tolist() == sorted(scores[group].tolist(), reverse=True)
        for i in group[1:].tolist():
            overlaps = [iou(boxes[head].tolist(), boxes[i].tolist(), 0) for head in heads[: number + 1]]
            assert overlaps[-1] >= 0.4
            assert all(overlap < 0.4 for overlap in overlaps[:-1])


def test_batched_nms_keeps_classes_apart():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])
    keep = mmcv.ops.batched_nms(boxes, scores, classes, dict(type="nms", iou_threshold=0.5))[1]
    assert keep.tolist() == [0, 1]
