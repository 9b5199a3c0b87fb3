"""Scores of whole videos: measured segment by segment, kept on disk, in memory that does not grow with the frames."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from toolkit.video.cache import SegmentCache
from toolkit.video.frames import open_video
from toolkit.video.scorer import HEAT, SEGMENT, AnomalyScorer, Regions, measure_segments, segments

FRAME = [("seconds", "f8"), ("scored", "?")]


class MeasuredVideo:
    """A video's regions, measured where they are not on disk yet, read from there as often as needed.

    Args:
        model: what measures.
        source: a video file or a folder of pictures.
        folder: where what is measured is kept.
        model_key: a digest by which the model is known.
        fps: see `open_video`.

    Attributes:
        problems: lines on what is wrong with the video; after `measure`.
    """

    names = ("frames", "regions")

    def __init__(
        self, model: AnomalyScorer, source: str | Path, folder: str | Path, model_key: str, fps: float | None = None
    ):
        self.model, self.source, self.fps = model, source, fps
        settings = {"model": model_key, "length": SEGMENT, "max_side": model.max_side, "fps": fps}
        settings |= model.measure_settings()
        self._store = SegmentCache(folder, source, settings)
        self.problems: list[str] = []
        self._type = [
            ("frame", "i4"), ("box", "f4", 4), ("errors", "f4", len(model.parts)), ("heat", "f2", (HEAT, HEAT)),
        ]  # fmt: skip

    def measure(self, progress: tqdm | None = None) -> int:
        """Measure what is not on disk; gives the number of frames that were not.

        Args:
            progress: counts frames.

        Raises:
            UserError: the video cannot be read, or the disk is full.
        """
        if self._store.length is not None and all(map(self._stored, range(self._store.length))):
            return 0
        number, fresh = -1, 0
        with open_video(self.source, self.fps) as video:
            if progress is not None and video.count:
                progress.total = (progress.total or 0) + video.count
            needs = (self.model.before, self.model.after, self.model.max_side)
            for segment in segments(video, SEGMENT, *needs):
                number = segment.number
                if self._stored(number) is None:
                    ((times, found),) = measure_segments(self.model, [segment])
                    self._store.put(number, self._packed(times, found))
                    fresh += len(times)
                if progress is not None:
                    progress.update(len(segment.times))
            self.problems = video.problems
        self._store.end(number + 1)
        return fresh

    def _stored(self, number: int) -> dict[str, np.ndarray] | None:
        return self._store.get(number, self.names)

    def _packed(self, times: np.ndarray, found: Sequence[Regions | None]) -> dict[str, np.ndarray]:
        frames = np.array(list(zip(times, [one is not None for one in found], strict=True)), FRAME)
        rows = [
            row
            for index, one in enumerate(found)
            if one is not None
            for row in zip([index] * len(one), one.boxes, one.errors, one.heat, strict=True)
        ]
        return {"frames": frames, "regions": np.array(rows, self._type)}

    def __iter__(self) -> Iterator[tuple[float, Regions | None]]:
        """(seconds, regions) of each frame; to be called after `measure`."""
        for number in range(self._store.length):
            stored = self._stored(number)
            rows = stored["regions"]
            first = np.searchsorted(rows["frame"], np.arange(len(stored["frames"]) + 1))
            for index, (seconds, scored) in enumerate(stored["frames"]):
                of_frame = rows[first[index] : first[index + 1]]
                regions = Regions(of_frame["box"], of_frame["errors"], of_frame["heat"].astype(np.float32))
                yield float(seconds), regions if scored else None

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Times (T,) and scores (T,) of all frames, NaN where a frame has none."""
        pairs = [(seconds, self.model.frame_score(regions)) for seconds, regions in self]
        return tuple(np.array(pairs, np.float64).reshape(-1, 2).T)
