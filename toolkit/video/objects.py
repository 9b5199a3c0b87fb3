"""Objects of a video as patches over several frames, with their optical flow: what object-centric methods look at."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from toolkit.video.flow import build_flow
from toolkit.video.foreground import ForegroundRules, cut_patches, in_motion, object_boxes, pixel_boxes, window

REFERENCE_AREA = 640 * 360  # pixels of the frames for which areas in the rules are meant where they are scaled


@dataclass(frozen=True)
class Objects:
    """The N objects of a frame.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        patches: (N, T, 3, S, S) uint8 BGR.
        flow: (N, T, 2, S, S) float16, pixels per frame.
    """

    boxes: np.ndarray
    patches: np.ndarray
    flow: np.ndarray


class ObjectExtractor:
    """Finds the objects of frames and cuts them out of the frames around.

    Args:
        rules: arguments of `ForegroundRules`.
        scale_rules: take the areas of the rules as those of frames of 640x360, and scale them to the frames' size;
            False as published.
        flow: see `build_flow`.
        detector: dict(config=..., checkpoint=...) of any detector of the toolkit or of mmdet, see
            `toolkit.load_model`; None finds objects by their motion alone.
        radius: frames on each side of an object's frame.
        size: S, pixels.

    Raises:
        UserError: see `build_flow` and `toolkit.load_model`.
    """

    def __init__(
        self,
        rules: dict[str, float],
        scale_rules: bool = True,
        flow: dict | None = None,
        detector: dict | None = None,
        radius: int = 3,
        size: int = 32,
    ):
        self.rules, self.scale_rules, self.radius, self.size = ForegroundRules(**rules), scale_rules, radius, size
        self._flow = build_flow(flow or dict(type="DIS"))
        self._detect = _detector(**detector) if detector else None
        self._pool = ThreadPoolExecutor(os.cpu_count())  # new threads each time would each keep memory of their own
        self._known: dict[int, tuple[np.ndarray, dict[str, np.ndarray]]] = {}

    def extract(self, frames: Sequence[np.ndarray], targets: range) -> list[Objects]:
        """The objects of some of the frames; flow and detections of frames that come again are not computed again.

        Args:
            frames: (H, W, 3) uint8 BGR, in a row. Windows are shifted into them at both ends, and the last one's flow
                is that of the one before it.
            targets: the frames whose objects to give.
        """
        self._known = {id(frame): self._known.get(id(frame), (frame, {})) for frame in frames}
        rules = self._rules(frames[0].shape)
        flows = list(self._pool.map(lambda index: self._flow_of(frames, index), range(len(frames))))
        return [self._objects(frames, flows, index, rules) for index in targets]

    def _rules(self, shape: tuple[int, ...]) -> ForegroundRules:
        if not self.scale_rules:
            return self.rules
        share = shape[0] * shape[1] / REFERENCE_AREA
        areas = {name: getattr(self.rules, name) * share for name in ("min_box_area", "min_motion_area")}
        return replace(self.rules, **areas)

    def _once(self, frame: np.ndarray, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        results = self._known[id(frame)][1]
        if name not in results:
            results[name] = compute()
        return results[name]

    def _flow_of(self, frames: Sequence[np.ndarray], index: int) -> np.ndarray:
        height, width = frames[0].shape[:2]
        if len(frames) == 1:
            return np.zeros((height, width, 2), np.float32)
        if index == len(frames) - 1:
            return self._flow(frames[index - 1], frames[index])
        return self._once(frames[index], "flow", lambda: self._flow(frames[index], frames[index + 1]))

    def _objects(
        self, frames: Sequence[np.ndarray], flows: Sequence[np.ndarray], index: int, rules: ForegroundRules
    ) -> Objects:
        frame, detections = frames[index], None
        if self._detect is not None:
            detections = self._once(frame, "detections", lambda: self._detect(frame))
        around = [frames[near] for near in window(index, len(frames), 1, "repeat")]
        boxes = object_boxes(around, rules, detections)
        boxes = boxes[in_motion(boxes, flows[index])]
        near = window(index, len(frames), self.radius, "shift")
        flow = cut_patches([flows[one] for one in near], boxes, self.size).astype(np.float16)
        return Objects(boxes, cut_patches([frames[one] for one in near], boxes, self.size), flow)


def _detector(config: str, checkpoint: str | None = None, device: str | None = None) -> Callable[[np.ndarray], Any]:
    """A function from a frame to detections (M, 5) of all classes."""
    from toolkit.inference import load_model

    model = load_model(config, checkpoint, device)

    def detect(frame: np.ndarray) -> np.ndarray:
        found = model.predict(frame)
        return np.column_stack([found.boxes, found.scores]).astype(np.float32)

    return detect


def paste_heat(heat: np.ndarray, box: np.ndarray, picture: np.ndarray) -> None:
    """Raise `picture` (H, W) float32 to what `heat` (N, N) float32 shows in `box` (4,), in place."""
    ((x1, y1, x2, y2),) = pixel_boxes(box, picture.shape)
    if x2 > x1 and y2 > y1:
        grown = cv2.resize(heat, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        np.maximum(picture[y1:y2, x1:x2], grown, out=picture[y1:y2, x1:x2])
