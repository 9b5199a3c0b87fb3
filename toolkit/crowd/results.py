"""How many people one picture shows, and where."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from toolkit.data.image_entries import ImageEntries
from toolkit.visualization import draw_text

DOT = (255, 255, 255)


@dataclass
class Crowd:
    """The people of one picture.

    Attributes:
        count: how many; the sum of the density, not rounded, at least 0.
        points: (N, 2) float32 x, y in pixels of the picture, the most certain first.
        size: (height, width) of the picture.
        density: (h, w) float32 people per cell, in evenly spaced cells over the picture; None from a detector.
        boxes: (N, 4) float32 x1, y1, x2, y2 from a detector; else None.
        path: the picture's file; None for an array.
        image: the picture (height, width, 3) uint8 BGR, where it was asked to be kept.
    """

    count: float
    points: np.ndarray
    size: tuple[int, int]
    density: np.ndarray | None = None
    boxes: np.ndarray | None = None
    path: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    def draw(self, image: np.ndarray | None = None) -> np.ndarray:
        """The picture under its density or boxes, with points and the count, (height, width, 3) uint8 BGR."""
        from toolkit.data.images import picture_for

        drawn = picture_for(image, self.image, self.path).copy()
        if self.density is not None:
            drawn = overlay(drawn, self.density)
        thickness = max(1, round(min(self.size) / 500))
        for x1, y1, x2, y2 in np.round(self.boxes).astype(int).tolist() if self.boxes is not None else ():
            cv2.rectangle(drawn, (x1, y1), (x2, y2), DOT, thickness, cv2.LINE_AA)
        for x, y in np.round(self.points).astype(int).tolist() if self.boxes is None else ():
            cv2.circle(drawn, (x, y), thickness, DOT, -1, cv2.LINE_AA)
        draw_text(drawn, f"{self.count:.1f}" if self.density is not None else f"{len(self.points)}")
        return drawn


def overlay(image: np.ndarray, density: np.ndarray) -> np.ndarray:
    """`image` (H, W, 3) uint8 BGR tinted by `density` (h, w), transparent where there is none."""
    height, width = image.shape[:2]
    heat = cv2.resize(np.maximum(density, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    heat /= max(float(heat.max()), 1e-6)
    colors = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = 0.75 * np.sqrt(heat)[..., None]
    return (image * (1 - opacity) + colors * opacity).astype(np.uint8)


def local_maxima(density: np.ndarray, count: int) -> np.ndarray:
    """The `count` highest local maxima of a density (h, w), or as many as it has: (N, 2) column and row, from 0."""
    smooth = cv2.GaussianBlur(density.astype(np.float32), (0, 0), 1.0)
    highest = cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((smooth >= highest) & (smooth > 1e-4))
    order = np.argsort(-smooth[rows, columns], kind="stable")[:count]
    return np.stack((columns[order], rows[order]), 1)


class CountWriter(ImageEntries):
    """Writes counts and points as JSON while they come, in the form that `CrowdPoints` reads.

    Attributes:
        total: people in all pictures.

    Args:
        path: the file to make, once `close` is called.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.total = 0.0

    def add(self, found: Crowd, **image: Any) -> None:
        """Add one picture; `image` holds what its entry has besides size, count and points."""
        entry = {**image, "width": found.size[1], "height": found.size[0], "count": round(found.count, 3)}
        self.write(entry | {"points": np.round(found.points.astype(np.float64), 1).tolist()})
        self.total += found.count
