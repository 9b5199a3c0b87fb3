"""Scores drawn into the frames they belong to: boxes of odd regions, where in them the errors are, a strip below."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from toolkit.video.frames import open_video
from toolkit.video.objects import paste_heat
from toolkit.video.scorer import Regions
from toolkit.video.timeline import KeyFrames, Scored, clock
from toolkit.video.writer import open_writer

ODD, NORMAL, CURVE, INK = (60, 60, 230), (170, 170, 170), (230, 160, 60), (235, 235, 235)  # BGR
STRIP = 0.16  # height of the strip below, as a part of the frame's
HEAT_OPACITY = 0.6

Row = tuple[float, Regions | None, np.ndarray]  # seconds, regions of a frame, their scores (N,)


def annotate_video(
    source: str | Path,
    fps: float | None,
    scored: Scored,
    rows: Iterable[Row],
    out: Path | None,
    heat_limit: float | None = None,
    progress: tqdm | None = None,
) -> list[tuple[float, np.ndarray]]:
    """Read a video again, write it with its scores drawn, and give its key frames as they are drawn.

    Args:
        source: see `open_video`.
        fps: of a folder of pictures.
        scored: its scores.
        rows: of its frames, in order.
        out: .mp4 to write; None for the key frames alone.
        heat_limit: error at which a pixel is wholly red; None draws no errors.
        progress: counts frames.

    Returns:
        (seconds, (H, W, 3) uint8 BGR) of the frames with the highest scores, in order of time.
    """
    key_frames = KeyFrames()
    with ExitStack() as stack:
        video = stack.enter_context(open_video(source, fps))
        writer = stack.enter_context(open_writer(out, video.fps, source)) if out else None
        strip = Strip(scored, *video.size)
        for number, ((seconds, frame), (_, regions, scores)) in enumerate(zip(video, rows, strict=False)):
            drawn = draw_regions(frame, regions, scores, scored.threshold, heat_limit)
            key_frames.add(seconds, float(scored.smoothed[number]), drawn)
            if writer:
                writer.add(strip.below(drawn, number), seconds)
            if progress is not None:
                progress.update()
    return key_frames.frames


def draw_regions(
    frame: np.ndarray, regions: Regions | None, scores: np.ndarray, threshold: float, heat_limit: float | None = None
) -> np.ndarray:
    """`frame` (H, W, 3) uint8 BGR with the boxes of its regions, red with their score where that is odd.

    Args:
        frame: left as it is.
        regions: of the frame; None for none.
        scores: (N,) of the regions.
        threshold: least score of an odd region.
        heat_limit: see `annotate_video`.
    """
    drawn = frame.copy()
    if regions is None or not len(regions):
        return drawn
    if heat_limit is not None:
        drawn = _heated(drawn, regions, heat_limit)
    line = max(1, round(min(frame.shape[:2]) / 240))
    for box, score in sorted(zip(regions.boxes.round().astype(int), scores, strict=True), key=lambda pair: pair[1]):
        odd = score >= threshold
        cv2.rectangle(drawn, tuple(map(int, box[:2])), tuple(map(int, box[2:])), ODD if odd else NORMAL, line)
        if odd:
            _write(drawn, f"{score:.1f}", (int(box[0]), max(int(box[1]) - 3, 10 * line)), 0.4 * line, ODD)
    return drawn


def _heated(frame: np.ndarray, regions: Regions, limit: float) -> np.ndarray:
    picture = np.zeros(frame.shape[:2], np.float32)
    for box, heat in zip(regions.boxes, regions.heat, strict=True):
        paste_heat(heat, box, picture)
    share = np.clip(picture / max(limit, 1e-12), 0, 1)
    colors = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = (HEAT_OPACITY * np.sqrt(share))[..., None]
    return (frame * (1 - opacity) + colors * opacity).astype(np.uint8)


class Strip:
    """A strip with the whole curve, the threshold, the events and the present, put below frames.

    Args:
        scored: whose curve.
        width: of the frames, pixels.
        height: of the frames.
    """

    def __init__(self, scored: Scored, width: int, height: int):
        self._scored, self._width = scored, width
        self._height = max(24, round(STRIP * height)) // 2 * 2
        self._picture = self._draw()

    def below(self, frame: np.ndarray, number: int) -> np.ndarray:
        """`frame` (H, W, 3) with the strip below it, the frame `number` marked."""
        strip, scored = self._picture.copy(), self._scored
        x = int(self._columns(np.array([number]))[0])
        cv2.line(strip, (x, 0), (x, self._height), INK, 1)
        score = scored.smoothed[number]
        text = clock(float(scored.times[number])) + ("" if np.isnan(score) else f"  {score:.2f}")
        _write(strip, text, (4, 11), 0.38, INK)
        if scored.odd[number]:
            cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), ODD, 3)
        return np.vstack([frame, strip])

    def _columns(self, numbers: np.ndarray) -> np.ndarray:
        return (numbers * (self._width - 1) / max(len(self._scored.times) - 1, 1)).round().astype(int)

    def _draw(self) -> np.ndarray:
        strip = np.full((self._height, self._width, 3), 30, np.uint8)
        scored = self._scored
        for event in scored.events:
            x1, x2 = self._columns(np.array([event.first_frame, event.last_frame]))
            strip[:, x1 : x2 + 1] = (40, 40, 90)
        curve = scored.smoothed[~np.isnan(scored.smoothed)]
        if not curve.size:
            return strip
        low, high = min(np.quantile(curve, 0.01), scored.threshold), max(curve.max(), scored.threshold)
        there = np.flatnonzero(~np.isnan(scored.smoothed))
        values = np.append(scored.smoothed[there], scored.threshold)
        rows = self._height - 3 - (self._height - 16) * np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        cv2.line(strip, (0, int(rows[-1])), (self._width, int(rows[-1])), ODD, 1)
        points = np.stack([self._columns(there), rows[:-1]], 1).round().astype(np.int32)
        cv2.polylines(strip, [points], False, CURVE, 1, cv2.LINE_AA)
        return strip


def _write(image: np.ndarray, text: str, place: tuple[int, int], scale: float, color: tuple[int, int, int]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
