"""Videos read and written frame by frame."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from toolkit.errors import UserError

# FFmpeg's and OpenCV's own lines on stderr, hundreds for a full disk; ours say it in one
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.setLogLevel(0)

DEFAULT_RATE = 25.0  # frames per second, where a file does not say


class VideoReader:
    """The frames of a video file, (H, W, 3) uint8 BGR each; none when the file is no video.

    Attributes:
        rate: frames per second.
        count: number of frames as the file claims it, 0 where it does not.
    """

    def __init__(self, path: str | Path):
        self._capture = cv2.VideoCapture(str(path))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        self.count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def __enter__(self) -> "VideoReader":
        return self

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            yield frame

    def __exit__(self, *_: object) -> None:
        self._capture.release()


class VideoWriter:
    """Writes frames of one size as MP4 (MPEG-4 part 2); makes no file without frames, and none that is broken.

    Raises:
        UserError: on leaving, when the file does not hold every frame, as on a full disk.
    """

    def __init__(self, path: Path, rate: float):
        self.path, self.rate, self.frames = path, rate, 0
        self._part = path.with_name(f".{path.stem}.part.mp4")
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def add(self, frame: np.ndarray) -> None:
        """Append `frame` (H, W, 3) uint8 BGR."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter_fourcc(*"mp4v"), self.rate, size)
            if not self._writer.isOpened():
                raise UserError(f"cannot write the video {self.path}")
        self._writer.write(frame)
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        if kind is None or stopped:
            with VideoReader(self._part) as written:  # OpenCV does not tell that the disk was full
                if written.count == self.frames:
                    self._part.replace(self.path)
                    return
        self._part.unlink(missing_ok=True)
        if kind is None:
            raise UserError(f"cannot write the video {self.path}: not every frame arrived; the disk may be full")
