"""Sequences of whole frames of normal videos, for methods that predict frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.registry import DATASETS

from toolkit.video.ctd2gan import resize_frames
from toolkit.video.samples import SegmentSamples
from toolkit.video.scorer import Segment


@DATASETS.register_module()
class FrameClips(SegmentSamples):
    """T + 1 frames in a row of a normal video: dicts of frames (T + 1, 3, *size) uint8 BGR.

    A segment's frames are kept on disk once, with the T in front of it.

    Args:
        sources: see `SegmentSamples`, as are `cache`, `part` and `samples`.
        size: height and width that frames are brought to.
        frames: T.
        max_side: see `AnomalyScorer`.
    """

    nothing = "too few frames in a row to learn from"

    def __init__(
        self,
        sources: Sequence[str | Path],
        size: tuple[int, int] = (64, 112),
        frames: int = 4,
        cache: str | Path = "work_dirs/cache",
        max_side: int = 640,
        part: Literal["all", "learn"] = "all",
        samples: int | None = None,
    ):
        self._size, self._past = tuple(size), frames
        settings = {"frame_clips": frames, "size": self._size}
        super().__init__(sources, cache, settings, ("starts", "frames"), frames, 0, max_side, part, samples)

    def prepare(self, segment: Segment) -> dict[str, np.ndarray]:
        """`frames` (F, 3, *size) uint8, and `starts` (N,): where the sequences that end in the segment begin."""
        first = max(segment.targets.start, self._past)
        frames = segment.frames[first - self._past : segment.targets.stop]
        return {
            "starts": np.arange(max(0, segment.targets.stop - first)),
            "frames": resize_frames(frames, self._size),
        }

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Sequence `index`."""
        arrays, place = self._find(index)
        start = int(arrays["starts"][place])
        return {"frames": np.array(arrays["frames"][start : start + self._past + 1])}
