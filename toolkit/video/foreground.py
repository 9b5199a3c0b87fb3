"""Where the objects of a frame are: boxes of a detector, boxes of what moves, and their patches over several frames.

The rules of Making Reconstruction-based Method Great Again for Video Anomaly Detection, ICDM 2022, arXiv 2301.12048,
which are those of Cloze Test Helps: Effective Video Anomaly Detection via Learning to Complete Video Events, ACM MM
2020, arXiv 2008.11988.

Boxes are (N, 4) float32, x1 y1 x2 y2 in pixels. Where a rule speaks of an area, both sides count one pixel more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

MAX_ASPECT = 10  # of a motion box, either way
MARGIN = 2  # pixels around motion boxes, and around detected ones where no motion is looked for


@dataclass(frozen=True)
class ForegroundRules:
    """Thresholds of one data set.

    Attributes:
        min_score: a detection must score more.
        min_box_area: a detection must be at least as large, in pixels.
        max_cover: a detection of which a larger one covers more than this share goes.
        blur: size of the Gaussian kernel, odd.
        min_difference: a pixel moves if a channel changes by more, summed over two steps.
        min_motion_area: a motion box must be larger, in pixels.
    """

    min_score: float
    min_box_area: float
    max_cover: float
    blur: int
    min_difference: int
    min_motion_area: float


PUBLISHED_RULES = {
    "ped2": ForegroundRules(0.5, 100.0, 0.6, 3, 18, 100.0),  # of frames of 360x240
    "avenue": ForegroundRules(0.25, 1600.0, 0.6, 5, 18, 1600.0),  # 640x360
    "shanghaitech": ForegroundRules(0.5, 64.0, 0.65, 5, 15, 64.0),  # 856x480
}


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(N,): (width + 1) * (height + 1)."""
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def detector_boxes(detections: np.ndarray, rules: ForegroundRules) -> np.ndarray:
    """The boxes (N, 4) of detections (M, 5), x1 y1 x2 y2 score, that score well enough and are large enough."""
    detections = np.asarray(detections, np.float32).reshape(-1, 5)
    good = (detections[:, 4] > np.float32(rules.min_score)) & (box_areas(detections) >= rules.min_box_area)
    return detections[good, :4]


def drop_covered(boxes: np.ndarray, max_cover: float) -> np.ndarray:
    """Boxes of which no larger one, dropped itself or not, covers more than a share `max_cover`; small ones first."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    boxes = boxes[np.argsort(box_areas(boxes), kind="stable")]
    areas = box_areas(boxes)
    covered = [(shared_areas(box, boxes[i + 1 :]) / areas[i] > max_cover).any() for i, box in enumerate(boxes)]
    return boxes[~np.array(covered, bool)]


def shared_areas(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,): area that `box` (4,) has in common with each of `others` (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    return (high - low + 1).clip(0).prod(1)


def motion_boxes(frames: Sequence[np.ndarray], known: np.ndarray, rules: ForegroundRules) -> np.ndarray:
    """Boxes around what changes outside of known boxes.

    Blurred frames are subtracted from their neighbours. As published, the absolute differences are added in 8 bits and
    start again at 0 above 255, so the inside of a strong change may count as still.

    Args:
        frames: a frame between the one before and the one after, (H, W, 3) uint8 each.
        known: (N, 4) boxes in which no motion is looked for.
        rules: thresholds.

    Returns:
        (M, 4), each 2 pixels larger at each side, within the frame.
    """
    before, now, after = (cv2.GaussianBlur(frame, (rules.blur, rules.blur), 0) for frame in frames)
    change = cv2.absdiff(before, now) + cv2.absdiff(now, after)  # wraps
    moving = (change > rules.min_difference).any(2).astype(np.uint8)
    height, width = moving.shape
    for x1, y1, x2, y2 in np.asarray(known).reshape(-1, 4).astype(int):
        moving[max(y1 - MARGIN, 0) : max(y2 + MARGIN + 1, 0), max(x1 - MARGIN, 0) : max(x2 + MARGIN + 1, 0)] = 0
    contours, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = [
        (x, y, x + w, y + h)
        for x, y, w, h in map(cv2.boundingRect, contours)
        if (w + 1) * (h + 1) > rules.min_motion_area and max(w / h, h / w) < MAX_ASPECT
    ]
    grown = np.array(corners, np.float32).reshape(-1, 4) + np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
    return grown.clip(0, [width, height, width, height]).astype(np.float32)


def object_boxes(
    frames: Sequence[np.ndarray], rules: ForegroundRules, detections: np.ndarray | None = None
) -> np.ndarray:
    """All boxes of the middle one of three frames: the detector's, small ones first, then those of motion.

    Args:
        frames: see `motion_boxes`.
        rules: thresholds.
        detections: (M, 5), x1 y1 x2 y2 score; None where there is no detector.
    """
    detected = detector_boxes(np.zeros((0, 5)) if detections is None else detections, rules)
    detected = drop_covered(detected, rules.max_cover)
    return np.concatenate([detected, motion_boxes(frames, detected, rules)])


def pixel_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels that boxes stand for, (N, 4) int: columns x1:x2 and rows y1:y2, ends excluded, within the frame.

    Args:
        boxes: (N, 4) in pixels; all sides are rounded up, so a thin box may stand for no pixel.
        size: (height, width) of the frame.
    """
    pixels = np.ceil(np.asarray(boxes, np.float64).reshape(-1, 4)).astype(int)
    return pixels.clip(0, [size[1], size[0], size[1], size[0]])


def in_motion(boxes: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(N,) bool: whether there is any flow in a box, without which it is not used; false for a box without pixels.

    Args:
        boxes: (N, 4).
        flow: (H, W, 2) of the boxes' frame.
    """
    return np.array([flow[y1:y2, x1:x2].any() for x1, y1, x2, y2 in pixel_boxes(boxes, flow.shape[:2])], bool)


def cut_patches(frames: Sequence[np.ndarray], boxes: np.ndarray, size: int = 32) -> np.ndarray:
    """The same boxes out of each frame, all resized bilinearly, without smoothing first, to `size` x `size`.

    Args:
        frames: T of (H, W, C), frames (uint8) or flow (float32).
        boxes: (N, 4), each with at least one pixel in the frame.
        size: in pixels.

    Returns:
        (N, T, C, size, size) of the frames' type. Flow keeps its values: they stay pixels of the frame.

    Raises:
        ValueError: a box has no pixels.
    """
    height, width, channels = frames[0].shape
    pixels = pixel_boxes(boxes, (height, width))
    patches = np.empty((len(pixels), len(frames), channels, size, size), frames[0].dtype)
    for patch, (x1, y1, x2, y2) in zip(patches, pixels, strict=True):
        if x2 <= x1 or y2 <= y1:
            raise ValueError(f"a box has no pixels in a frame of {width}x{height}: columns {x1}:{x2}, rows {y1}:{y2}")
        for out, frame in zip(patch, frames, strict=True):
            resized = cv2.resize(frame[y1:y2, x1:x2], (size, size), interpolation=cv2.INTER_LINEAR)
            out[:] = resized.reshape(size, size, channels).transpose(2, 0, 1)
    return patches


def window(frame: int, length: int, radius: int, border: Literal["shift", "repeat"]) -> np.ndarray:
    """Numbers of the 2 * radius + 1 frames around one, within its video.

    Args:
        frame: the one in the middle, from 0.
        length: frames of the video.
        radius: frames on each side.
        border: near an end of the video "shift" moves the whole window into it, as the network's input is taken;
            "repeat" repeats the first or last frame, as for motion. A video shorter than the window repeats its last.
    """
    first = frame - radius
    if border == "shift":
        first = max(0, min(first, length - 2 * radius - 1))
    return np.arange(first, first + 2 * radius + 1).clip(0, length - 1)
