"""What a classifier says of one picture."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data.image_entries import ImageEntries
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
        from toolkit.data.images import picture_for

        drawn = picture_for(image, self.image, self.path).copy()
        draw_text(drawn, f"{self.name} {self.scores.max():.2f}")
        return drawn


class ClassWriter(ImageEntries):
    """Writes the most likely classes as JSON while they come.

        {"classes": [...], "images": [{"file_name": ..., "width": ..., "height": ..., "top": [{"class", "score"}]}]}

    Args:
        path: the file to make, once `close` is called.
        classes: names of the classes.
        k: how many of the most likely ones to write.
    """

    def __init__(self, path: Path, classes: tuple[str, ...], k: int = 5):
        super().__init__(path, classes=classes)
        self.k = k

    def add(self, found: Classification, **image: Any) -> None:
        """Add one picture; `image` holds what its entry has besides size and classes."""
        top = [{"class": name, "score": round(score, 5)} for name, score in found.top(self.k)]
        self.write({**image, "width": found.size[1], "height": found.size[0], "top": top})
