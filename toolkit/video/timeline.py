"""From scores to what someone looks at: events, tables of scores, and one picture of the whole.

Times are in seconds, scores one a frame, NaN where a frame has none.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from toolkit.data.video import DEFAULT_RATE
from toolkit.files import write_whole
from toolkit.plots import png_figure
from toolkit.video.metrics import NO_OBJECT

KEY_WIDTH = 320  # pixels of the key frames that are kept
MARGIN = 0.05  # of the curve's height, left free above and below it


def smooth(scores: np.ndarray, frames: int) -> np.ndarray:
    """(T,) mean of the scores in a window of `frames` around each frame, cut off at the ends; NaN stays NaN.

    Frames without a score do not count in their neighbours' means; frames without objects (`NO_OBJECT`) count as the
    least real score.
    """
    scores = np.asarray(scores, np.float64)
    there = ~np.isnan(scores)
    values = np.where(there, _floored(scores), 0.0)
    before, after = (frames - 1) // 2, frames // 2
    sums, counts = (np.pad(np.cumsum(part), (1, 0)) for part in (values, there.astype(np.float64)))
    low = np.clip(np.arange(len(scores)) - before, 0, None)
    high = np.clip(np.arange(len(scores)) + after + 1, None, len(scores))
    mean = (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)
    return np.where(there, mean, np.nan)


def window_frames(seconds: float, fps: float) -> int:
    """Frames in a window for `smooth`, at least 1."""
    return max(1, round(seconds * fps))


def _floored(scores: np.ndarray) -> np.ndarray:
    real = scores[scores > NO_OBJECT]
    return np.maximum(scores, real.min()) if real.size else np.where(np.isnan(scores), np.nan, 0.0)


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """A stretch of odd frames.

    Attributes:
        start: time of its first frame.
        end: time at which its last frame ends; so far, while it goes on.
        peak: highest score.
        peak_time: of the frame that has it.
        first_frame: number of its first frame, from 0; `last_frame` that of its last.
    """

    start: float
    end: float
    peak: float
    peak_time: float
    first_frame: int
    last_frame: int


@dataclass
class EventFinder:
    """Finds events frame by frame, each as soon as it is certain.

    Frames that score at least `threshold` make an event; stretches less than `min_gap` apart are one event; events
    shorter than `min_length` are none. Frames without a score are taken as not odd.

    Attributes:
        threshold: least score of an odd frame.
        min_gap: seconds.
        min_length: seconds.
        fps: says how long a source's last frame lasts.
    """

    threshold: float
    min_gap: float = 0.5
    min_length: float = 0.2
    fps: float = DEFAULT_RATE
    _event: Event | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _number: int = field(default=-1, init=False)
    _odd: bool = field(default=False, init=False)

    def add(self, seconds: float, score: float) -> list[tuple[str, Event]]:
        """Take the next frame; gives ("start", event) when one has become long enough, ("end", event) when it is over.

        A start is known `min_length` after it happened, an end `min_gap` after.
        """
        self._number += 1
        told = []
        if self._odd:
            self._event.end = seconds
        elif self._event and seconds - self._event.end >= self.min_gap - 1e-9:
            told += self._finish()
        self._odd = score >= self.threshold
        if self._odd:
            self._take(seconds, score)
        return told + self._start()

    def _take(self, seconds: float, score: float) -> None:
        end = seconds + 1 / self.fps
        if self._event is None:
            self._event = Event(seconds, end, score, seconds, self._number, self._number)
        self._event.end, self._event.last_frame = end, self._number
        if score > self._event.peak:
            self._event.peak, self._event.peak_time = score, seconds

    def _start(self) -> list[tuple[str, Event]]:
        event = self._event
        if event is None or self._told or event.end - event.start < self.min_length - 1e-9:
            return []
        self._told = True
        return [("start", event)]

    def _finish(self) -> list[tuple[str, Event]]:
        event, told = self._event, self._told
        self._event, self._told = None, False
        return [("end", event)] if told else []

    def close(self) -> list[tuple[str, Event]]:
        """End the event that goes on, if any; to be called after the last frame."""
        self._odd = False
        return self._finish() if self._event else []


def find_events(
    times: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    min_gap: float = 0.5,
    min_length: float = 0.2,
    fps: float = DEFAULT_RATE,
) -> list[Event]:
    """The events in (T,) times and scores, see `EventFinder`."""
    finder = EventFinder(threshold, min_gap, min_length, fps)
    steps = [finder.add(float(seconds), float(score)) for seconds, score in zip(times, scores, strict=True)]
    return [event for step in [*steps, finder.close()] for kind, event in step if kind == "end"]


# --- tables ---------------------------------------------------------------------------------------------------------


@dataclass
class Scored:
    """A video's scores and what follows from them.

    Attributes:
        video: its name.
        fps: frames per second, nominally.
        times: (T,) of the frames.
        scores: (T,), NaN where a frame has none.
        smoothed: (T,), those that the threshold was held against; the scores themselves where nothing was smoothed.
        threshold: least score of an odd frame.
        events: in order of time.
    """

    video: str
    fps: float
    times: np.ndarray
    scores: np.ndarray
    smoothed: np.ndarray
    threshold: float
    events: list[Event]

    @property
    def odd(self) -> np.ndarray:
        """(T,) bool: whether a frame lies in an event."""
        odd = np.zeros(len(self.times), bool)
        for event in self.events:
            odd[event.first_frame : event.last_frame + 1] = True
        return odd


def write_csv(scored: Scored, path: Path) -> None:
    """Write one row a frame: frame, seconds, score, smoothed, event (1 in an event). A frame without score has none."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", "seconds", "score", "smoothed", "event"])
    rows = zip(scored.times, scored.scores, scored.smoothed, scored.odd, strict=True)
    for number, (seconds, score, mean, odd) in enumerate(rows):
        values = ["" if math.isnan(value) else f"{value:.6g}" for value in (score, mean)]
        table.writerow([number, f"{seconds:.3f}", *values, int(odd)])
    write_whole(text.getvalue().encode(), path)


def write_json(scored: Scored, path: Path, **more: Any) -> None:
    """Write the events, the threshold and the scores; `more` goes along. A frame without score has null."""
    content = {
        "video": scored.video,
        "fps": scored.fps,
        "frames": len(scored.times),
        "unscored": int(np.isnan(scored.scores).sum()),
        "threshold": _number(scored.threshold),
        "events": [event_entry(event) for event in scored.events],
        **more,
        "seconds": [round(float(value), 3) for value in scored.times],
        "scores": [_number(value) for value in scored.scores],
        "smoothed": [_number(value) for value in scored.smoothed],
    }
    write_whole(json.dumps(content, allow_nan=False).encode(), path)


def event_entry(event: Event) -> dict[str, float]:
    """An event for JSON, times in milliseconds' precision."""
    entry = asdict(event)
    return entry | {key: round(entry[key], 3) for key in ("start", "end", "peak_time")} | {"peak": _number(event.peak)}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


# --- the picture ----------------------------------------------------------------------------------------------------


class KeyFrames:
    """Keeps the frames with the highest scores while a video passes, small, in constant memory.

    Args:
        count: how many.
        apart: seconds that two of them are apart at least.
    """

    def __init__(self, count: int = 6, apart: float = 1.0):
        self.count, self.apart = count, apart
        self._kept: list[tuple[float, float, np.ndarray]] = []  # (score, seconds, frame)

    def add(self, seconds: float, score: float, frame: np.ndarray) -> None:
        """Take `frame` (H, W, 3) uint8 BGR, which may be changed afterwards; without a score it is passed over."""
        if math.isnan(score):
            return
        near = [one for one in self._kept if abs(one[1] - seconds) < self.apart]
        if any(one[0] >= score for one in near):
            return
        others = [one for one in self._kept if abs(one[1] - seconds) >= self.apart]
        if len(others) == self.count:
            least = min(others, key=lambda one: one[0])
            if least[0] >= score:
                return
            others = [one for one in others if one is not least]
        height = max(1, round(frame.shape[0] * KEY_WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (KEY_WIDTH, height), interpolation=cv2.INTER_AREA)
        self._kept = [*others, (score, seconds, small)]

    @property
    def frames(self) -> list[tuple[float, np.ndarray]]:
        """(seconds, frame (H, 320, 3) uint8 BGR) in order of time."""
        return sorted(((seconds, frame) for _, seconds, frame in self._kept), key=lambda one: one[0])


def draw_timeline(scored: Scored, key_frames: Sequence[tuple[float, np.ndarray]], path: Path) -> None:
    """Draw the scores over time, the threshold, the events shaded, and key frames below, into the PNG `path`.

    Args:
        scored: what to draw.
        key_frames: (seconds, frame (H, W, 3) uint8 BGR); may be none.
        path: its folder is made.
    """
    with png_figure(path, 12, 5.6 if key_frames else 3.6, 100) as figure:
        if key_frames:
            grid = figure.add_gridspec(2, len(key_frames), height_ratios=(3, 2))
            axes = figure.add_subplot(grid[0, :])
            for column, (seconds, frame) in enumerate(key_frames):
                cell = figure.add_subplot(grid[1, column])
                cell.imshow(frame[..., ::-1])
                cell.set_title(clock(seconds), fontsize=9)
                cell.set_axis_off()
        else:
            axes = figure.subplots()
        _draw_curve(axes, scored, [seconds for seconds, _ in key_frames])


def _draw_curve(axes: Any, scored: Scored, marked: Sequence[float]) -> None:
    raw, smoothed = _floored(scored.scores), _floored(scored.smoothed)
    if not np.array_equal(raw, smoothed, equal_nan=True):
        axes.plot(scored.times, raw, color="0.7", linewidth=0.8, label="score")
    axes.plot(scored.times, smoothed, color="tab:blue", linewidth=1.3, label="smoothed" if axes.lines else "score")
    axes.axhline(scored.threshold, color="tab:red", linewidth=1, linestyle="--", label="threshold")
    for number, event in enumerate(scored.events):
        label = None if number else "event"
        axes.axvspan(event.start, event.end, color="tab:red", alpha=0.18, linewidth=0, label=label)
    low, high = _limits(np.concatenate([raw, smoothed, [scored.threshold]]))
    for seconds in marked:
        axes.plot(seconds, low, marker="^", color="black", markersize=6, clip_on=False)
    axes.set_ylim(low, high)
    if len(scored.times):
        axes.set_xlim(scored.times[0], max(scored.times[-1], scored.times[0] + 1 / scored.fps))
    axes.xaxis.set_major_formatter(lambda value, _: clock(value))
    axes.set_title(f"{scored.video}: {len(scored.events)} event{'s' * (len(scored.events) != 1)}")
    axes.set_ylabel("score")
    axes.legend(loc="upper right", fontsize=8)


def _limits(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def clock(seconds: float) -> str:
    """`3:07.5` or `1:02:03.5`: hours where there are any, minutes, seconds."""
    tenths = round(abs(seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return ("-" if seconds < 0 else "") + (f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}")
