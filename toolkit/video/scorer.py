"""What every method of scoring videos is: errors of regions in, scores out; and how a video of any length is fed to it.

A method looks at frames with some others around them and gives for each frame its regions (objects, or the whole
picture) with their errors. Errors become scores by what the method learnt from normal footage, and the largest score
of a frame's regions is the frame's.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel

from toolkit.data.video import DEFAULT_RATE
from toolkit.video.frames import open_video
from toolkit.video.metrics import Found
from toolkit.video.timeline import smooth, window_frames

HEAT = 16  # rows and columns of a region's picture of errors
SEGMENT = 64  # frames of a video that are looked at together


@dataclass(frozen=True)
class Regions:
    """The N regions of a frame.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the frame.
        errors: (N, P) float32, one column for each of the method's `parts`.
        heat: (N, 16, 16) float32, where in the box the errors are.
    """

    boxes: np.ndarray
    errors: np.ndarray
    heat: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls, parts: int) -> "Regions":
        return cls(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0, parts), (0, HEAT, HEAT))))


class AnomalyScorer(BaseModel):
    """A method of scoring videos. A subclass writes `measure`, `region_scores` and, to be trained, `forward`.

    Attributes:
        parts: names of a region's errors.
        before: how many frames before a frame it needs to see, fewer only where the video begins.
        after: how many after it, fewer only where the video ends.
        warm_up: how many frames of a video have no score, because nothing came before them.
        max_side: frames whose longer side has more pixels are made smaller first.
        empty_score: of a frame without regions.
        smooth_seconds: window in which scores are averaged unless the user says otherwise.
    """

    parts: tuple[str, ...]
    before: int
    after: int
    warm_up = 0
    empty_score = 0.0

    def __init__(self, max_side: int = 640, smooth_seconds: float = 0.0):
        super().__init__()
        self.max_side, self.smooth_seconds = max_side, smooth_seconds

    def measure(self, frames: Sequence[np.ndarray], targets: range) -> list[Regions | None]:
        """The regions of some frames of a video.

        Args:
            frames: (H, W, 3) uint8 BGR, in a row.
            targets: which of them to look at. There are fewer than `before` frames in front of them only where the
                video begins, and fewer than `after` behind them only where it ends.

        Returns:
            One for each of `targets`; None for a frame that cannot have a score.
        """
        raise NotImplementedError

    def region_scores(self, errors: np.ndarray) -> np.ndarray:
        """Scores (N,) float64 of regions from their errors (N, P); higher is odder."""
        raise NotImplementedError

    def frame_score(self, regions: Regions | None) -> float:
        """The largest score of a frame's regions; NaN for a frame that cannot have one."""
        if regions is None:
            return float("nan")
        return float(self.region_scores(regions.errors).max()) if len(regions) else self.empty_score

    def variants(self) -> list[tuple[str, "AnomalyScorer"]]:
        """The method with parts of it left out, by name, for a table that shows what each is worth."""
        return [("", self)]

    def measure_settings(self) -> dict[str, Any]:
        """What `measure` depends on beside the weights and the config, plain data."""
        return {}

    def judge(
        self, measured: Iterable[tuple[float, Regions | None]], smooth_seconds: float | None = None
    ) -> "VideoScores":
        """The scores of a video.

        Args:
            measured: (seconds, regions) of each frame.
            smooth_seconds: see the attribute; None for that.
        """
        times, regions = zip(*measured, strict=True)
        fps = (len(times) - 1) / times[-1] if times[-1] > 0 else DEFAULT_RATE
        window = window_frames(self.smooth_seconds if smooth_seconds is None else smooth_seconds, fps)
        scores = np.array([self.frame_score(one) for one in regions])
        nothing = (np.zeros((0, 4), np.float32), np.zeros(0))
        found = [(one.boxes, self.region_scores(one.errors)) if one else nothing for one in regions]
        return VideoScores(np.array(times), smooth(scores, window), found)

    def val_step(self, data: dict) -> list["VideoScores"]:
        """Score the clips of a batch of `LabelledClips`."""
        scored = []
        for clip in data["clip"]:
            with open_video(clip.source, clip.fps) as video:
                pieces = measure_segments(self, segments(video, SEGMENT, self.before, self.after, self.max_side))
                scored.append(self.judge(pair for piece in pieces for pair in zip(*piece, strict=True)))
        return scored

    test_step = val_step

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class VideoScores:
    """What a method made of a video.

    Attributes:
        times: (T,) seconds.
        scores: (T,), smoothed, NaN where a frame has none.
        found: for each frame the boxes (N, 4) and scores (N,) of its regions.
    """

    times: np.ndarray
    scores: np.ndarray
    found: list[Found]


@dataclass(frozen=True)
class Segment:
    """Some frames of a video to look at, with their neighbours.

    Attributes:
        number: from 0, as the segments of a video follow each other.
        times: (F,) seconds of the frames to look at.
        frames: these and their neighbours, (H, W, 3) uint8 BGR.
        targets: which of `frames` to look at.
        scale: what coordinates in `frames` are multiplied with to be pixels of the video.
    """

    number: int
    times: np.ndarray
    frames: list[np.ndarray]
    targets: range
    scale: float


def segments(
    video: Iterable[tuple[float, np.ndarray]], length: int, before: int, after: int, max_side: int
) -> Iterator[Segment]:
    """Cut a video of any length into segments of `length` frames, the last one shorter, in constant memory.

    Args:
        video: (seconds, frame) as `open_video` gives them.
        length: frames to look at in each; at least `before`, so that the first sees as far ahead as a window needs.
        before: neighbours in front of them.
        after: neighbours behind them.
        max_side: see `AnomalyScorer`.
    """
    kept: deque[tuple[float, np.ndarray]] = deque()
    start, number, scale = 0, 0, 1.0  # `start`: the first frame to look at, as an index into `kept`
    for seconds, frame in video:
        scale = max(1.0, max(frame.shape[:2]) / max_side)
        kept.append((seconds, shrink(frame, max_side)))
        if len(kept) == start + length + after:
            yield _segment(kept, number, range(start, start + length), scale)
            number, start = number + 1, start + length
            while start > before:
                kept.popleft()
                start -= 1
    while start < len(kept):
        stop = min(start + length, len(kept))
        yield _segment(kept, number, range(start, stop), scale)
        number, start = number + 1, stop


def _segment(kept: Iterable[tuple[float, np.ndarray]], number: int, targets: range, scale: float) -> Segment:
    times, frames = zip(*kept, strict=True)
    return Segment(number, np.array(times[targets.start : targets.stop]), list(frames), targets, scale)


def shrink(frame: np.ndarray, max_side: int) -> np.ndarray:
    """`frame` (H, W, 3), made smaller where its longer side has more than `max_side` pixels."""
    scale = max_side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


Measured = tuple[np.ndarray, list[Regions | None]]  # times (F,) of some frames, and their regions


def measure_segments(model: AnomalyScorer, pieces: Iterable[Segment]) -> Iterator[Measured]:
    """Times and regions of the frames of each segment, boxes in pixels of the video."""
    model.eval()
    for piece in pieces:
        with torch.no_grad():
            found = model.measure(piece.frames, piece.targets)
        yield piece.times, [one and Regions(one.boxes * piece.scale, one.errors, one.heat) for one in found]
