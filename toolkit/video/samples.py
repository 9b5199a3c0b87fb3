"""Samples of normal videos to learn from: prepared once, kept on disk, read from there at random."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from toolkit.errors import UserError
from toolkit.video.cache import SegmentCache
from toolkit.video.datasets import Clip, find_clips
from toolkit.video.frames import open_video
from toolkit.video.scorer import SEGMENT, Segment, segments

HELD_OUT = 6  # every sixth segment is not learnt from but tells how high unseen normal frames score


def is_held_out(number: int) -> bool:
    """Whether the segment of this number, counted through all clips, is kept from training."""
    return number % HELD_OUT == HELD_OUT - 1


def normal_clips(sources: Sequence[str | Path]) -> list[Clip]:
    """The clips of files, of folders of pictures and of folders of videos.

    Raises:
        UserError: see `find_clips`.
    """
    return [clip for source in sources for clip in find_clips(source, "train")]


class SegmentSamples(Dataset):
    """Samples of normal videos. A subclass writes `prepare` and says what that depends on.

    Args:
        sources: videos, folders of pictures or of videos, or the root of a published set.
        cache: folder for what is prepared.
        settings: all that `prepare` depends on.
        names: of the arrays that it gives.
        before: frames in front of a segment that it needs, as are `after`.
        after: frames behind.
        max_side: see `AnomalyScorer`.
        part: "all" segments, or only those to "learn" from, see `is_held_out`.
        samples: how many there are to be: more are thinned out evenly, fewer repeated. None takes them as they are.

    Raises:
        UserError: a source cannot be read, or there is nothing to learn from in all of them.
    """

    nothing = "there is nothing to learn from"
    metainfo: dict = {}  # mmengine asks for it

    def __init__(
        self,
        sources: Sequence[str | Path],
        cache: str | Path,
        settings: dict[str, Any],
        names: tuple[str, ...],
        before: int,
        after: int,
        max_side: int,
        part: Literal["all", "learn"] = "all",
        samples: int | None = None,
    ):
        self.names, self.cache = names, Path(cache)
        self.settings = dict(settings, length=SEGMENT, max_side=max_side)
        self._needs = (before, after, max_side)
        clips = normal_clips([sources] if isinstance(sources, str | Path) else sources)
        parts, counted = [], 0
        with tqdm(desc="preparing", unit=" frames", disable=None) as progress:
            for clip in clips:
                of_clip = self._clip(clip, progress)
                parts += [
                    one for number, one in enumerate(of_clip, counted) if part == "all" or not is_held_out(number)
                ]
                counted += len(of_clip)
        self._parts = [one for one in parts if len(one[names[0]])]
        self._ends = np.cumsum([len(one[names[0]]) for one in self._parts])
        total = int(self._ends[-1]) if len(self._ends) else 0
        if not total:
            raise UserError(f"{', '.join(clip.name for clip in clips[:3])}: {self.nothing}")
        count = samples or total
        self._chosen = (
            np.linspace(0, total, count, endpoint=False).astype(int) if count < total else np.arange(count) % total
        )

    @abstractmethod
    def prepare(self, segment: Segment) -> dict[str, np.ndarray]:
        """The samples of a segment: arrays `names`, (N, ...) each."""

    def _clip(self, clip: Clip, progress: tqdm) -> list[dict[str, np.ndarray]]:
        """The arrays of each segment of a clip, prepared where they are not on disk yet."""
        store = SegmentCache(self.cache, clip.source, self.settings | {"fps": clip.fps})
        if store.length is not None:
            found = [store.get(number, self.names) for number in range(store.length)]
            if None not in found:
                progress.update(sum(SEGMENT for _ in found))
                return found
        before, after, max_side = self._needs
        found = []
        with open_video(clip.source, clip.fps) as video:
            if video.live:
                raise UserError(f"{clip.source} is a live source; record a while of it and learn from the file")
            for segment in segments(video, SEGMENT, before, after, max_side):
                if store.get(segment.number, self.names) is None:
                    store.put(segment.number, self.prepare(segment))
                found.append(store.get(segment.number, self.names))
                progress.update(len(segment.times))
        store.end(len(found))
        return found

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Sample `index` of each array."""
        arrays, place = self._find(index)
        return {name: np.array(arrays[name][place]) for name in self.names}

    def _find(self, index: int) -> tuple[dict[str, np.ndarray], int]:
        """The arrays of the segment that holds sample `index`, and its place in the first of them."""
        place = int(self._chosen[index])
        number = bisect_right(self._ends, place)
        return self._parts[number], place - int(self._ends[number - 1] if number else 0)
