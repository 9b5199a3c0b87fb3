"""What a classifier says of one picture."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import UserError
from toolkit.visualization import draw_text


@dataclass
class Classification:
    """The classes of one picture.

    Attributes:
        scores: (K,) float32, one for each class; they sum to 1.
        classes: names of the K classes.
        size: (height, width) of the picture.
        path: the picture's file; None for an array.
        image: the picture (height, width, 3) uint8 BGR, where it was asked to be kept.
    """

    scores: np.ndarray
    classes: tuple[str, ...]
    size: tuple[int, int]
    path: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    @property
    def label(self) -> int:
        """Place of the most likely class in `classes`."""
        return int(self.scores.argmax())

    @property
    def name(self) -> str:
        """The most likely class."""
        return self.classes[self.label]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most likely classes, or all if there are fewer, and their scores; the most likely first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.classes[label], float(self.scores[label])) for label in order]

    def draw(self, image: np.ndarray | None = None) -> np.ndarray:
        """The picture with its most likely class and score in the corner, (height, width, 3) uint8 BGR."""
        from toolkit.data.images import read_image

        image = self.image if image is None else image
        if image is None and self.path is None:
            raise UserError("draw: give the picture, which was passed as an array and not kept")
        drawn = (read_image(self.path) if image is None else image).copy()
        draw_text(drawn, f"{self.name} {self.scores.max():.2f}")
        return drawn


class ClassWriter:
    """Writes the most likely classes as JSON while they come; whole or not at all.

        {"classes": [...], "images": [{"file_name": ..., "width": ..., "height": ..., "top": [{"class", "score"}]}]}

    Args:
        path: the file to make, once `close` is called.
        classes: names of the classes.
        k: how many of the most likely ones to write.
    """

    def __init__(self, path: Path, classes: tuple[str, ...], k: int = 5):
        self.path, self.k, self.images = path, k, 0
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self._file.write(f'{{"classes": {json.dumps(classes, ensure_ascii=False)},\n"images": [')

    def add(self, found: Classification, **image: Any) -> None:
        """Add one picture; `image` holds what its entry has besides size and classes."""
        top = [{"class": name, "score": round(score, 5)} for name, score in found.top(self.k)]
        entry = {**image, "width": found.size[1], "height": found.size[0], "top": top}
        self._file.write(("\n" if self.images == 0 else ",\n") + json.dumps(entry, ensure_ascii=False))
        self.images += 1

    def close(self) -> None:
        """Finish the file under its name. Raises `OSError`; then nothing is left of it."""
        try:
            self._file.write("\n]}\n")
            self._file.close()
            self._part.replace(self.path)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of the file behind."""
        with suppress(OSError):  # closing writes what is buffered
            self._file.close()
        self._part.unlink(missing_ok=True)
