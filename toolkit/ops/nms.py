"""Non-maximum suppression: `nms`, `softnms` and `nms_match` with mmcv's calling conventions.

Soft-NMS: Improving Object Detection With One Line of Code, ICCV 2017, arXiv 1704.04503.
Boxes are (N, 4) as x1, y1, x2, y2 in pixels; a box is x2 - x1 + offset wide.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor

from toolkit.ops.precision import wide

NAIVE, LINEAR, GAUSSIAN = range(3)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) of the boxes that stay, best score first; a box goes if its IoU with a better one is above."""
    if boxes.dtype != scores.dtype:
        boxes, scores = boxes.float(), scores.float()
    if offset:
        boxes = wide(boxes) + torch.tensor([0, 0, offset, offset], device=boxes.device)
    return torchvision.ops.nms(wide(boxes), wide(scores), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap a better one, and drop those below `min_score`.

    Args:
        boxes, scores: (N, 4) and (N,) on the CPU.
        dets: (N, 5); the first K rows are filled with the boxes and new scores, best first.
        iou_threshold: overlaps from here on lower the score (`NAIVE` to 0, `LINEAR` by 1 - IoU).
        sigma: `GAUSSIAN` lowers every score by exp(-IoU^2 / sigma).
        min_score: a box whose lowered score is below is dropped.
        method: `NAIVE`, `LINEAR` or `GAUSSIAN`.

    Returns:
        Indices (K,) of the boxes in `dets`.
    """
    table = torch.cat([wide(boxes), wide(scores)[:, None].to(wide(boxes))], 1).detach().numpy()  # x1, y1, x2, y2, score
    index = np.arange(len(table))
    count, place = len(table), 0
    while place < count:
        best = place + int(table[place:count, 4].argmax())
        table[[place, best]] = table[[best, place]]
        index[[place, best]] = index[[best, place]]
        place += 1
        overlap = _overlap(table[place - 1], table[place:count], offset)
        table[place:count, 4] *= _decay(overlap, iou_threshold, sigma, method)
        kept = _close_gaps(~(table[place:count, 4] < min_score)) + place
        count = place + len(kept)
        table[place:count], index[place:count] = table[kept], index[kept]
    dets[:count] = torch.from_numpy(table[:count])
    return torch.from_numpy(index[:count])


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Each box that NMS keeps with the boxes it suppresses (IoU at or above), as indices in order of score.

    Args:
        dets: (N, 5) as x1, y1, x2, y2, score on the CPU.
    """
    table = wide(dets).numpy()
    waiting = np.argsort(-table[:, 4], kind="stable")
    groups = []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        matched = _overlap(table[best], table[rest], 0) >= iou_threshold
        groups.append([int(best), *rest[matched].tolist()])
        waiting = rest[~matched]
    return groups


def _overlap(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """IoU of one box (4+,) with `others` (N, 4+): (N,), NaN between empty boxes."""
    size = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2]) + offset
    intersection = size.clip(0).prod(1)
    areas = (others[:, 2:4] - others[:, :2] + offset).prod(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return intersection / ((box[2:4] - box[:2] + offset).prod() + areas - intersection)


def _decay(overlap: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(overlap**2) / sigma)
    return np.where(overlap >= iou_threshold, 0 if method == NAIVE else 1 - overlap, 1)


def _close_gaps(keep: np.ndarray) -> np.ndarray:
    """Positions that stay, each gap filled from the end: mmcv's order, which decides between equal scores."""
    size = int(keep.sum())
    order = np.arange(size)
    order[~keep[:size]] = size + np.flatnonzero(keep[size:])[::-1]
    return order
