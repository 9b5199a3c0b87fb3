"""Put things that pass by into a normal video, with a label and boxes for each frame: a test that anyone can make.

Every passer crosses the picture once, alone, at a random time, from a random side, with a soft shadow, in the light of
the scene. It is in front of everything.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from toolkit.errors import UserError
from toolkit.files import write_whole
from toolkit.video.frames import open_video
from toolkit.video.passers import PERSON, Passer, find_cutouts, make_passer
from toolkit.video.writer import open_writer

LANES = (0.5, 0.8)  # where the ground is, as parts of the picture's height, when nobody says
PAUSE = 1.0  # seconds at least between two crossings, and before the first


@dataclass
class Crossing:
    """A passer's way through the picture.

    Attributes:
        passer: who.
        begin: seconds at which it enters.
        leftward: whether it goes to the left.
        ground: height of the ground at the left and the right edge, pixels from above.
        scale: pixels a metre.
    """

    passer: Passer
    begin: float
    leftward: bool
    ground: tuple[float, float]
    scale: float

    def seconds(self, width: int) -> float:
        """How long it takes, in a picture `width` pixels wide."""
        return (width / self.scale + self.passer.size[0]) / self.passer.speed

    def paint(self, frame: np.ndarray, seconds: float) -> tuple[int, int, int, int] | None:
        """Paint it as it is at `seconds` into `frame` (H, W, 3) uint8 BGR, in place.

        Returns:
            x1, y1, x2, y2 of what is seen of it, in pixels, right and lower edge excluded; None when it is not in
            the picture.
        """
        width = frame.shape[1]
        metres = (seconds - self.begin) * self.passer.speed
        if not 0 <= seconds - self.begin <= self.seconds(width):
            return None
        colors, alpha = self.passer.draw(metres, self.scale)
        middle = (metres - self.passer.size[0] / 2) * self.scale
        if self.leftward:
            middle, colors, alpha = width - middle, colors[:, ::-1], alpha[:, ::-1]
        share = min(max(middle / width, 0.0), 1.0)
        ground = self.ground[0] + share * (self.ground[1] - self.ground[0])
        left, top = round(middle - alpha.shape[1] / 2), round(ground) - len(alpha)
        box = _seen(alpha, left, top, *frame.shape[1::-1])
        if box is None:  # its shadow alone would be an odd thing without a label
            return None
        _shade(frame, middle, ground, self.passer.size[0] * self.scale)
        colors = cv2.GaussianBlur(colors, (3, 3), 0) * np.clip(frame.mean() / 115, 0.6, 1.15)
        _blend(frame, colors, alpha, left, top)
        return box


def _seen(alpha: np.ndarray, left: int, top: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The box of what is seen of a cut-out at (left, top) in a picture of this size; None for nothing."""
    rows, columns = np.nonzero(alpha >= 0.5)
    inside = (rows + top >= 0) & (rows + top < height) & (columns + left >= 0) & (columns + left < width)
    if not inside.any():
        return None
    rows, columns = rows[inside] + top, columns[inside] + left
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _shade(frame: np.ndarray, middle: float, ground: float, width: float) -> None:
    """A soft shadow on the ground."""
    shadow = np.zeros(frame.shape[:2], np.float32)
    axes = max(1, round(0.42 * width)), max(1, round(0.06 * width))
    cv2.ellipse(shadow, (round(middle), round(ground)), axes, 0, 0, 360, 0.35, -1)
    top, bottom = (min(max(round(ground + sign * 0.2 * width), 0), len(frame)) for sign in (-1, 1))
    soft = cv2.GaussianBlur(shadow[top:bottom], (0, 0), max(1.0, 0.03 * width)) if bottom > top else shadow[:0]
    frame[top:bottom] = (frame[top:bottom] * (1 - soft[..., None])).astype(np.uint8)


def _blend(frame: np.ndarray, colors: np.ndarray, alpha: np.ndarray, left: int, top: int) -> None:
    """Paint the part of a cut-out at (left, top) that lies in `frame`, which is to be some of it."""
    height, width = frame.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + alpha.shape[1], width), min(top + len(alpha), height)
    part = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    weight, under = alpha[part][..., None], frame[y1:y2, x1:x2]
    frame[y1:y2, x1:x2] = np.clip(under + weight * (colors[part] - under) + 0.5, 0, 255).astype(np.uint8)


def plan(
    passers: Sequence[Passer],
    seconds: float,
    size: tuple[int, int],
    person: float,
    lane: tuple[float, float] | None,
    rng: np.random.Generator,
) -> list[Crossing]:
    """Crossings one after the other at random times.

    Args:
        passers: who crosses, in this order.
        seconds: length of the video.
        size: (width, height) of its frames.
        person: height of a person as a part of the picture's height.
        lane: height of the ground at the left and right edge, as parts of the picture's height; None for a random one
            for each crossing.
        rng: the source of chance.

    Raises:
        UserError: the video is too short for them.
    """
    width, height = size
    scale = person * height / PERSON
    crossings = []
    for passer in passers:
        ground = lane or (rng.uniform(*LANES),) * 2
        crossings.append(Crossing(passer, 0.0, bool(rng.random() < 0.5), tuple(y * height for y in ground), scale))
    lengths = [crossing.seconds(width) for crossing in crossings]
    free = seconds - sum(lengths) - PAUSE * (len(passers) + 1)
    if free < 0:
        raise UserError(
            f"{len(passers)} crossings need {seconds - free:.1f} s, the video has {seconds:.1f} s; "
            "give a lower --events, or a larger --person, who crosses faster"
        )
    pauses = PAUSE + free * rng.dirichlet(np.ones(len(passers) + 1))
    for number, crossing in enumerate(crossings):
        crossing.begin = float(pauses[: number + 1].sum() + sum(lengths[:number]))
    return crossings


def make_anomaly_video(
    source: Path,
    out: Path,
    kinds: Sequence[str],
    events: int,
    person: float = 0.13,
    lane: tuple[float, float] | None = None,
    seed: int = 0,
    start: float = 0.0,
    end: float | None = None,
    cutouts: Path | None = None,
    images: Path | None = None,
) -> dict:
    """Write `out`, a part of `source` with passers in it, and its labels beside it, as `find_clips` reads them.

    Args:
        source: a video or a folder of pictures.
        out: file to write, .mp4; the labels get its name with .json. Sound is kept only from the start of `source` on.
        kinds: kinds of passers, in turn.
        events: how many cross; 0 for none.
        person: see `plan`, as is `lane`.
        seed: same seed, same crossings.
        start: seconds of `source` at which to begin, `end` those at which to end.
        cutouts: COCO file with polygons to cut the passers from, see `find_cutouts`, as is `images`; kinds that its
            pictures do not show are drawn, as all are without it.

    Returns:
        The entry of the clip in the label file: labels, boxes [frame, track, x1, y1, x2, y2], events.

    Raises:
        UserError: the source cannot be read, is live or too short; see also `plan` and `find_cutouts`.
    """
    rng = np.random.default_rng(seed)
    found = find_cutouts(cutouts, images) if cutouts else {}
    chosen = [kinds[number % len(kinds)] for number in range(events)]
    passers = [make_passer(kind, rng, found.get(kind, ())) for kind in chosen]
    seconds, size = _length(source, start, end)
    crossings = plan(passers, seconds, size, person, lane, rng)
    labels, boxes = [], []
    times = []
    with open_video(source) as video, open_writer(out, video.fps, source if start == 0 else None) as writer:
        for at, frame in tqdm(video, total=video.count, unit=" frames", disable=None):
            if at < start:
                continue
            if end is not None and at >= end:
                break
            at -= start
            seen = [crossing.paint(frame, at) for crossing in crossings]
            boxes += [[len(labels), track, *box] for track, box in enumerate(seen) if box]
            labels.append(int(any(seen)))
            times.append(at)
            writer.add(frame, at - times[0])
    entry = {
        "labels": labels,
        "boxes": boxes,
        "events": [_event(track, passer, boxes, times) for track, passer in enumerate(passers)],
        "made": {"source": Path(source).name, "seed": seed},
    }
    write_whole(json.dumps({out.stem: entry}).encode(), out.with_suffix(".json"))
    return entry


def _length(source: Path, start: float, end: float | None) -> tuple[float, tuple[int, int]]:
    """Seconds of the part between `start` and `end`, and the size of its frames."""
    with open_video(source) as video:
        if video.live:
            raise UserError(f"{source} is a live source; give a video")
        last = 0.0
        for last, _ in video:
            if end is not None and last >= end:
                break
        if last <= start:
            raise UserError(f"{source} ends at {last:.1f} s, before --start {start:g}")
        return min(last, end or last) - start, video.size


def _event(track: int, passer: Passer, boxes: list[list], times: list[float]) -> dict:
    frames = [row[0] for row in boxes if row[1] == track]
    return {
        "track": track,
        "kind": passer.kind,
        "drawn": passer.drawn,
        "first_frame": frames[0],
        "last_frame": frames[-1],
        "start": round(times[frames[0]] - times[0], 3),
        "end": round(times[frames[-1]] - times[0], 3),
    }
