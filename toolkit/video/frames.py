"""Frames with their times from a video file, a folder of pictures, a webcam or a network camera.

Files and folders give every frame. Live sources never wait for a slow reader: what is older than a second is dropped
and counted, so that results lag by a bounded time.
"""

import math
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from toolkit.data.images import EXTENSIONS, read_image
from toolkit.data.inputs import VIDEO_EXTENSIONS
from toolkit.data.video import DEFAULT_RATE
from toolkit.errors import UserError

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtp", "udp", "srt")
OPEN_TIMEOUT = 10  # seconds to wait for a network camera
LIVE_BACKLOG = 1.0  # seconds of frames that wait for the reader
HIGHEST_RATE = 1000.0  # frames per second; what files claim beyond it is the unit of their clock

Frames = Iterator[tuple[float, np.ndarray]]


class VideoSource:
    """Frames, read once from first to last. Made by `open_video`.

    with open_video("clip.mp4") as source:
        for seconds, frame in source:
            ...

    Attributes:
        name: the source as it was given.
        fps: frames per second as the source says, else 25.
        size: (width, height) in pixels of every frame.
        live: whether frames come as they happen.
        count: number of frames that the source claims to have, an estimate where its rate varies; None where it does
            not say.
        problems: a line for each kind of flaw that was met so far; complete after the last frame.
        dropped: frames of a live source that came faster than they were taken.
    """

    def __init__(self, name: str, reader: "_Pictures | _File | _Live"):
        self.name, self.live, self.fps, self.count = name, isinstance(reader, _Live), reader.fps, reader.count
        self._reader, self._frames, self._resized = reader, iter(reader), False
        self._first = next(self._frames, None)
        if self._first is None:
            reader.close()
            raise UserError(f"{name}: {reader.nothing}")
        height, width = self._first[1].shape[:2]
        self.size = (width, height)

    @property
    def problems(self) -> list[str]:
        lines = list(self._reader.problems)
        if self._resized:
            lines.append(f"{self.name}: the size of its frames changes; all were brought to that of the first")
        if self.dropped:
            lines.append(f"{self.name}: {self.dropped} frames came faster than they were taken, and were dropped")
        return lines

    @property
    def dropped(self) -> int:
        return getattr(self._reader, "dropped", 0)

    def __iter__(self) -> Frames:
        """(seconds since the first frame, (H, W, 3) uint8 BGR) for each frame; times rise."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        for seconds, frame in self._frames:
            yield seconds, self._fit(frame)

    def _fit(self, frame: np.ndarray) -> np.ndarray:
        if frame.shape[1::-1] == self.size:
            return frame
        self._resized = True
        smaller = frame.shape[1] > self.size[0]
        return cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> "VideoSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_video(source: str | Path, fps: float | None = None) -> VideoSource:
    """Open `source` for reading.

    Args:
        source: a video file, a folder of pictures (in the order of the numbers in their names), the number of a webcam
            ("0"), or the address of a network camera ("rtsp://...").
        fps: frames per second of a folder of pictures; 25 without it.

    Raises:
        UserError: there is no such source, or not one frame of it can be read.
    """
    name, path = str(source), Path(source).expanduser()
    if path.is_dir():
        return VideoSource(name, _Pictures(path, fps or DEFAULT_RATE))
    if path.exists():
        _check_file(path)
        return VideoSource(name, _File(path))
    if name.isdecimal():
        return VideoSource(name, _Live(_capture(int(name)), f"there is no webcam {name}, or another program uses it"))
    scheme = re.match(r"(\w+)://", name)
    if scheme is None:
        raise UserError(f"{name} does not exist; give a video, a folder of pictures, a webcam's number or rtsp://...")
    if scheme[1].lower() in LIVE_SCHEMES:
        return VideoSource(name, _Live(_capture(name), "no pictures come from this address"))
    return VideoSource(name, _File(name))


def find_pictures(folder: Path) -> list[Path]:
    """The pictures in `folder`, 2.jpg before 10.jpg; hidden files are passed over."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.name[0] != "."]
    return sorted(files, key=natural_key)


def find_videos(folder: Path) -> list[Path]:
    """The video files in `folder`, 2.mp4 before 10.mp4; hidden files are passed over."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_EXTENSIONS and path.name[0] != "."]
    return sorted(files, key=natural_key)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _check_file(path: Path) -> None:
    if path.suffix.lower() in EXTENSIONS:
        raise UserError(f"{path} is one picture; give a video or a folder of pictures")
    if path.is_file():
        if path.stat().st_size == 0:
            raise UserError(f"{path} is an empty file")
        with path.open("rb"):  # for the system's own reason why it cannot be read
            pass


def _capture(source: int | str | Path) -> cv2.VideoCapture:
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT * 1000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, OPEN_TIMEOUT * 1000]
    # FFmpeg alone: OpenCV's other readers take "a%02d.mp4" or "5.mp4" for a row of pictures
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, limits)


class _Pictures:
    """A folder of pictures. A picture that cannot be read is the one before it again, so that numbers stay."""

    nothing = "holds no picture that can be read"

    def __init__(self, folder: Path, fps: float):
        self.files, self.fps, self.problems = find_pictures(folder), fps, []
        if not self.files:
            hint = "; give the videos themselves" if find_videos(folder) else ""
            raise UserError(f"{folder} holds no pictures{hint}")
        self.count: int | None = len(self.files)
        self._unread: list[str] = []

    def __iter__(self) -> Frames:
        last, waiting = None, 0
        for number, file in enumerate(self.files):
            try:
                last = read_image(file)
            except UserError as error:
                self._note(str(error))
                if last is None:
                    waiting += 1
                    continue
            for early in range(number - waiting, number):
                yield early / self.fps, last
            waiting = 0
            yield number / self.fps, last

    def _note(self, error: str) -> None:
        self._unread.append(error)
        more = f" (and {len(self._unread) - 1} more)" if len(self._unread) > 1 else ""
        self.problems[:] = [f"{self._unread[0]}{more}; its neighbour stands in for it"]

    def close(self) -> None:
        pass


class _File:
    """A video file, or a stream that waits for its reader."""

    nothing = "not one frame can be read; it is no video, is cut off, or has a coding that OpenCV lacks"

    def __init__(self, path: str | Path):
        self.path, self.problems = path, []
        self._video = _capture(path)
        self.fps, told = _rate(self._video)
        if not told and self._video.isOpened():
            self.problems.append(f"{path} does not say its frame rate; {self.fps:g} a second are assumed")
        self.count = max(int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None

    def __iter__(self) -> Frames:
        read, start, last = 0, 0.0, 0.0
        while True:
            there, frame = self._video.read()
            if not there:
                break
            seconds = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if read == 0:
                start, last = seconds if math.isfinite(seconds) else 0.0, 0.0
            elif math.isfinite(seconds) and seconds - start > last:
                last = seconds - start
            else:  # no clock, or one that jumps back
                last += 1 / self.fps
            yield last, frame
            read += 1
        # not by the number of frames, which is estimated from the length where the rate varies
        claimed, lasted = (self.count or 0) / self.fps, last + 1 / self.fps
        if read and lasted < min(0.98 * claimed, claimed - 3 / self.fps):
            self.problems.append(f"{self.path} is damaged: its pictures end at {lasted:.1f} of {claimed:.1f} s")

    def close(self) -> None:
        self._video.release()


class _Live:
    """A camera, read by a thread of its own so that frames never age in the driver's queue."""

    count = None

    def __init__(self, video: cv2.VideoCapture, nothing: str):
        self._video, self.nothing, self.problems, self.dropped = video, nothing, [], 0
        self.fps, _ = _rate(video)
        self._queue: deque = deque(maxlen=max(2, round(LIVE_BACKLOG * self.fps)))
        self._changed, self._stopped, self._ended = threading.Condition(), False, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start = None
        while not self._stopped:
            there, frame = self._video.read()
            now = time.monotonic()
            start = now if start is None else start
            with self._changed:
                if there:
                    self.dropped += len(self._queue) == self._queue.maxlen
                    self._queue.append((now - start, frame))
                else:
                    self._ended = True
                self._changed.notify()
            if not there:
                return

    def __iter__(self) -> Frames:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ended)
                if not self._queue:
                    return
                item = self._queue.popleft()
            yield item

    def close(self) -> None:
        self._stopped = True
        self._thread.join(OPEN_TIMEOUT)
        self._video.release()


def _rate(video: cv2.VideoCapture) -> tuple[float, bool]:
    """(frames per second, whether the video says so)."""
    rate = video.get(cv2.CAP_PROP_FPS)
    return (rate, True) if 0 < rate <= HIGHEST_RATE else (DEFAULT_RATE, False)
