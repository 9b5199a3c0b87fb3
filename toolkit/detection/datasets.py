"""COCO detection sets that say what is wrong with them before training does."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS

from toolkit.errors import UserError


@DATASETS.register_module()
class CocoDetection(CocoDataset):
    """mmdet's `CocoDataset`, checked while it is loaded.

    Without `metainfo=dict(classes=...)` the classes are the file's, in its order, and not COCO's eighty. Boxes of no
    size, outside the picture or of other classes are left out, as in mmdet.

    Raises:
        UserError: the annotation file is missing or not COCO JSON; the classes are not in it, or in another order
            (mmdet numbers them in the order of the file whatever the configuration says); pictures are missing; or
            nothing is left to train on.
    """

    METAINFO: dict[str, Any] = {}

    def load_data_list(self) -> list[dict]:
        content = _read_coco(self.ann_file)
        self._metainfo["classes"] = _matching_classes(self.ann_file, content, self._metainfo.get("classes"))
        data_list = super().load_data_list()
        _check_pictures(self.ann_file, [info["img_path"] for info in data_list])
        self._census = _census(content, set(self.cat_ids))
        return data_list

    def filter_data(self) -> list[dict]:
        kept = super().filter_data()
        boxes = sum(not instance["ignore_flag"] for info in self.data_list for instance in info["instances"])
        if not kept or (not self.test_mode and boxes == 0):
            read = f"{len(self.data_list)} pictures with {sum(self._census.values())} boxes read"
            raise UserError(
                f"{self.ann_file}: nothing to use: {read}; {self._dropped_boxes()}; {len(kept)} pictures kept "
                f"(filter_cfg={self.filter_cfg})"
            )
        return kept

    def _dropped_boxes(self) -> str:
        reasons = [f"{count} {reason}" for reason, count in self._census.items() if reason != "fine" and count]
        return f"boxes left out: {', '.join(reasons)}" if reasons else "no box left out"


def _read_coco(path: str) -> dict:
    """The content of a COCO file whose three parts are there."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: the annotation file does not exist; data/README.md tells where sets come from and how they must "
            "lie, and --data-root DIR names another place"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a COCO JSON file: {error}") from error
    missing = [
        key for key in ("images", "annotations", "categories") if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise UserError(f"{path}: not a COCO detection file: it has no {', '.join(missing)}")
    return content


def _matching_classes(path: str, content: dict, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """`classes` if they are in the file in that order; the file's when there are none."""
    names = tuple(category["name"] for category in content["categories"])
    if classes is None:
        return names
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UserError(f"{path}: has no class {', '.join(map(repr, unknown))}; its classes are {', '.join(names)}")
    ordered = tuple(name for name in names if name in classes)
    if ordered != tuple(classes):
        raise UserError(f"{path}: has the classes in another order than the config; write classes={ordered}")
    return ordered


def _check_pictures(ann_file: str, paths: list[str]) -> None:
    """Refuse a set of which pictures are missing; one look at each folder."""
    there: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in there:
            there[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in there[folder]:
            missing.append(path)
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(f"{ann_file}: {len(missing)} of its {len(paths)} pictures are missing: {some}")


def _census(content: dict, used: set[int]) -> Counter:
    """How many boxes are fine and how many not, by reason."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    counts: Counter = Counter()
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        across, down = sizes.get(annotation["image_id"], (0, 0))
        if annotation["category_id"] not in used:
            counts["of classes not asked for"] += 1
        elif annotation["image_id"] not in sizes:
            counts["of pictures that are not listed"] += 1
        elif width < 1 or height < 1 or annotation.get("area", 1) <= 0:
            counts["smaller than a pixel"] += 1
        elif min(x + width, across) <= max(x, 0) or min(y + height, down) <= max(y, 0):
            counts["outside their picture"] += 1
        elif annotation.get("iscrowd") or annotation.get("ignore"):
            counts["crowds or marked to be ignored"] += 1
        else:
            counts["fine"] += 1
    return counts
