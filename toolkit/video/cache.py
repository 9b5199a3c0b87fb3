"""What was computed of a video's segments, on disk, so that a run that was cut off goes on where it was."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import UserError
from toolkit.video.frames import find_pictures

VERSION = 1  # of what is computed; a new one makes older entries unread
SAMPLE = 1 << 20  # bytes at each end of a file by which it is known


class SegmentCache:
    """Arrays by the number of their segment.

    Args:
        folder: where caches of all videos lie.
        source: the video, a file or a folder of pictures. It is known by its content, not by its name or place.
        settings: all that the arrays depend on besides, plain data.
    """

    def __init__(self, folder: str | Path, source: str | Path, settings: Mapping[str, Any]):
        source = Path(source)
        told = json.dumps([VERSION, content_key(source), settings], sort_keys=True, default=str)
        self.folder = Path(folder) / f"{source.stem[:40]}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def get(self, number: int, names: Iterable[str]) -> dict[str, np.ndarray] | None:
        """The arrays `names` of a segment, read from disk when they are used; None unless all are there and whole."""
        try:
            return {name: np.load(self._path(number, name), mmap_mode="r") for name in names}
        except (OSError, ValueError):
            return None

    def put(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays of a segment.

        Raises:
            UserError: the disk is full or cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                path = self._path(number, name)
                part = path.with_name(f"{path.name}.{os.getpid()}.part")
                try:
                    with part.open("wb") as file:
                        np.save(file, array)
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror or error}") from error

    @property
    def length(self) -> int | None:
        """How many segments the video has; None until `end` was told."""
        try:
            return int((self.folder / "segments").read_text())
        except (OSError, ValueError):
            return None

    def end(self, segments: int) -> None:
        """Note that the video has this many segments, all of which are stored."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "segments").write_text(str(segments))

    def _path(self, number: int, name: str) -> Path:
        return self.folder / f"{number:06d}.{name}.npy"


def content_key(source: Path) -> str:
    """A digest by which a video is known: of a file its length, beginning and end; of a folder its pictures' facts."""
    digest = hashlib.sha256()
    if source.is_dir():
        for file in find_pictures(source):
            facts = file.stat()
            digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    else:
        size = source.stat().st_size
        digest.update(str(size).encode())
        with source.open("rb") as file:
            digest.update(file.read(SAMPLE))
            file.seek(max(0, size - SAMPLE))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()
