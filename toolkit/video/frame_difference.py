"""Difference to the frame before: the plain baseline, which learns nothing.

    score = largest mean over blocks of 16x16 pixels of |frame - frame before|, in grey levels

Every table of methods has this row, so that it shows what learning adds.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

import cv2
import numpy as np
from mmengine.registry import MODELS

from toolkit.errors import UserError
from toolkit.video.scorer import HEAT, AnomalyScorer, Regions

BLOCK = 16  # pixels
STRIDE = 8  # pixels between the beginnings of blocks


@MODELS.register_module()
class FrameDifference(AnomalyScorer):
    """The block of a frame that changed most since the frame before.

    Args:
        max_side: see `AnomalyScorer`; blocks have 16x16 pixels of the frames after this.
        smooth_seconds: see `AnomalyScorer`.
    """

    parts = ("difference",)
    before, after, warm_up = 1, 0, 1

    def __init__(self, max_side: int = 256, smooth_seconds: float = 0.0):
        super().__init__(max_side, smooth_seconds)

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Training calls it. Raises `UserError`."""
        raise UserError("FrameDifference learns nothing; `score_video.py fit` does without training")

    def measure(self, frames: Sequence[np.ndarray], targets: range) -> list[Regions | None]:
        """See `AnomalyScorer`. One region a frame: the block that changed most; None for a video's first frame."""
        start = max(targets.start - 1, 0)
        grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames[start : targets.stop]]
        found = [most_changed(*pair) for pair in pairwise(grey)]
        return [None] * (len(targets) - len(found)) + found

    def region_scores(self, errors: np.ndarray) -> np.ndarray:
        """Scores (N,): the errors themselves, 0 to 255."""
        return errors[:, 0].astype(np.float64)


def most_changed(before: np.ndarray, frame: np.ndarray) -> Regions:
    """The block in which two grey frames (H, W) uint8 differ most, the first of equal ones.

    Blocks overlap by half; the last of each row and column end with the frame. In a frame with less than 16 pixels on a
    side, blocks are as long as that side.
    """
    change = cv2.absdiff(before, frame)
    height, width = (min(BLOCK, side) for side in change.shape)
    rows, columns = (_starts(side) for side in change.shape)
    sums = cv2.integral(change).astype(np.float64)
    bands = sums[rows + height] - sums[rows]
    means = (bands[:, columns + width] - bands[:, columns]) / (height * width)
    row, column = np.unravel_index(means.argmax(), means.shape)
    y, x = rows[row], columns[column]
    heat = cv2.resize(change[y : y + height, x : x + width].astype(np.float32), (HEAT, HEAT))
    box = np.array([[x, y, x + width, y + height]], np.float32)
    return Regions(box, means[row, column].reshape(1, 1).astype(np.float32), heat[None])


def _starts(side: int) -> np.ndarray:
    last = max(side - BLOCK, 0)
    return np.append(np.arange(0, last, STRIDE), last)
