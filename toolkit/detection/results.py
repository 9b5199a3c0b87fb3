"""What a detector found in one picture."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from toolkit.errors import UserError


@dataclass
class Detections:
    """Objects found in one picture, best first.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of the picture as it is seen (after EXIF rotation).
        scores: (N,) float32 in [0, 1].
        labels: (N,) int64, places in `classes`.
        classes: names of the model's classes.
        size: (height, width) of the picture.
        masks: (N, height, width) bool, or None from a model that finds only boxes.
        path: the picture's file; None for an array.
        image: the picture (height, width, 3) uint8 BGR, where it was asked to be kept.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    size: tuple[int, int]
    masks: np.ndarray | None = None
    path: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> "Detections":
        """Those at `index`: a number, a slice, numbers or booleans."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        masks = self.masks if self.masks is None else self.masks[chosen]
        parts = {name: getattr(self, name)[chosen] for name in ("boxes", "scores", "labels")}
        return replace(self, **parts, masks=masks)

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.classes[label] for label in self.labels]

    def filter(self, score_thr: float = 0.0, classes: Iterable[str] | None = None) -> "Detections":
        """Those with a score of at least `score_thr` that are of one of `classes` (None: of any).

        Raises:
            UserError: a class that the model does not have.
        """
        keep = self.scores >= score_thr
        if classes is not None:
            keep &= np.isin(self.labels, class_numbers(classes, self.classes))
        return self[keep]

    def to_coco(self, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO annotations with scores; `category_id` is the place in `classes` counted from 1.

        Boxes are x, y, width, height; masks become compressed RLE.
        """
        found = []
        for index, (box, score, label) in enumerate(zip(self.boxes, self.scores, self.labels, strict=True)):
            x1, y1, x2, y2 = (round(float(value), 2) for value in box)
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": int(label) + 1,
                "bbox": [x1, y1, width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "score": round(float(score), 5),
            }
            if self.masks is not None:
                annotation["segmentation"] = _run_lengths(self.masks[index])
                annotation["area"] = int(self.masks[index].sum())
            found.append(annotation)
        return found

    def draw(self, image: np.ndarray | None = None, scale: int = 1) -> np.ndarray:
        """The picture with boxes, masks and labels drawn, (height * scale, width * scale, 3) uint8 BGR.

        Args:
            image: what to draw on; None for the picture itself, read again from `path` where it was not kept.
            scale: enlarge the picture so many times first, for labels that fit small pictures.

        Raises:
            UserError: there is no picture to draw on, or it has another size.
        """
        from toolkit.data.images import picture_for
        from toolkit.visualization import draw_boxes

        image = picture_for(image, self.image, self.path)
        if image.shape[:2] != tuple(self.size):
            raise UserError(f"draw: the picture is {image.shape[:2]}, the detections are of one of {self.size}")
        texts = [f"{name} {score:.0%}" for name, score in zip(self.names, self.scores, strict=True)]
        if scale == 1:
            return draw_boxes(image, self.boxes, self.labels, texts, self.masks)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        masks = None if self.masks is None else self.masks.repeat(scale, 1).repeat(scale, 2)
        return draw_boxes(image, self.boxes * scale, self.labels, texts, masks)


def class_numbers(names: Iterable[str], classes: tuple[str, ...]) -> list[int]:
    """The places of `names` in `classes`.

    Raises:
        UserError: a name is not there; the message lists those that are.
    """
    names = list(names)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise UserError(f"the model has no class {', '.join(map(repr, unknown))}; it has {', '.join(classes)}")
    return [classes.index(name) for name in names]


def categories(classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """COCO categories of a class list, numbered from 1 as `Detections.to_coco` does."""
    return [{"id": number, "name": name} for number, name in enumerate(classes, 1)]


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}
