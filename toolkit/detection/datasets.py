"""COCO detection sets that say what is wrong with them before training does."""

import math
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from toolkit.data.formats import load_json
from toolkit.errors import UserError

_CROWD = "a crowd or marked to be ignored"


@DATASETS.register_module()
class CocoDetection(CocoDataset):
    """mmdet's `CocoDataset`, checked while it is loaded.

    Without `metainfo=dict(classes=...)` the classes are the file's, in its order, and not COCO's eighty. Boxes of no
    size, outside the picture or of other classes are left out, as in mmdet; here they are counted, and a picture that
    has none but such boxes counts as empty for `filter_cfg=dict(filter_empty_gt=True)`.

    Raises:
        UserError: the annotation file is missing or not COCO JSON; the classes are not in it, or in another order
            (mmdet's metric numbers them in the order of the file whatever the configuration says); pictures are
            missing; or nothing is left to train on.
    """

    METAINFO: dict[str, Any] = {}

    @classmethod
    def _load_metainfo(cls, metainfo: dict | None = None) -> dict:
        for key in metainfo or ():
            if key != "classes" and key.lower() == "classes":
                raise UserError(f"dataset.metainfo.{key}: the key is `classes`, in lower case")
        classes = (metainfo or {}).get("classes")
        if isinstance(classes, str) and not os.path.isfile(classes):
            raise UserError(f"dataset.metainfo.classes is one text; for a single class write ({classes!r},)")
        return super()._load_metainfo(metainfo)

    def load_data_list(self) -> list[dict]:
        """One entry for each picture of the file, as mmdet's pipelines take it."""
        content = _read_coco(self.ann_file, needs_boxes=not self.test_mode)
        self._metainfo["classes"] = _matching_classes(self.ann_file, content, self._metainfo.get("classes"))
        self.cat_ids = [c["id"] for c in content["categories"] if c["name"] in self._metainfo["classes"]]
        self.cat2label = {category: label for label, category in enumerate(self.cat_ids)}
        by_image: dict[Any, list[dict]] = {image["id"]: [] for image in content["images"]}
        self._dropped: Counter = Counter()
        self._boxes_read = len(content["annotations"])
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for one in content["annotations"]:
            reason = self._why_drop(one, sizes.get(one["image_id"]))
            if reason:
                self._dropped[reason] += 1
            if reason in (None, _CROWD):
                by_image[one["image_id"]].append({"area": one["bbox"][2] * one["bbox"][3]} | one)
        data_list = [
            self.parse_data_info(
                {"raw_img_info": image | {"img_id": image["id"]}, "raw_ann_info": by_image[image["id"]]}
            )
            for image in content["images"]
        ]
        if not self.backend_args:
            _check_pictures(self.ann_file, [info["img_path"] for info in data_list])
        return data_list

    def filter_data(self) -> list[dict]:
        """Leave out small and, if asked to, empty pictures when training; a `UserError` says why if none is left."""
        dropped: Counter = Counter()
        kept = self.data_list if self.test_mode else list(self._kept(self.filter_cfg or {}, dropped))
        boxes = sum(not instance["ignore_flag"] for info in kept for instance in info["instances"])
        read = f"{len(self.data_list)} pictures and {self._boxes_read} boxes were read"
        summary = f"{read}; pictures dropped: {_listing(dropped)}; boxes dropped: {_listing(self._dropped)}"
        if not kept or (boxes == 0 and not self.test_mode):
            raise UserError(
                f"{self.ann_file}: nothing is left to {'test' if self.test_mode else 'train'} on: {summary}"
            )
        if dropped or self._dropped:
            print_log(f"{self.ann_file}: {summary}", logger="current")
        return kept

    def _kept(self, filter_cfg: dict, dropped: Counter) -> Iterable[dict]:
        min_size = filter_cfg.get("min_size", 0)
        for info in self.data_list:
            if min(info["width"], info["height"]) < min_size:
                dropped[f"smaller than filter_cfg.min_size={min_size}"] += 1
            elif filter_cfg.get("filter_empty_gt", False) and all(one["ignore_flag"] for one in info["instances"]):
                dropped["without a usable box (filter_cfg.filter_empty_gt)"] += 1
            else:
                yield info

    def _why_drop(self, one: dict, size: tuple[int, int] | None) -> str | None:
        """Why training cannot use an annotation; None if it can."""
        if size is None:
            return "of a picture that is not listed"
        if one["category_id"] not in self.cat2label:
            return "of a class that metainfo.classes does not name"
        x, y, width, height = one["bbox"]
        if not (math.isfinite(x + y) and width >= 1 and height >= 1):
            return "smaller than a pixel or of no size"
        if min(x + width, size[0]) <= max(x, 0) or min(y + height, size[1]) <= max(y, 0):
            return "outside the picture"
        if one.get("area", 1) <= 0:
            return "of no area"
        return _CROWD if one.get("iscrowd") or one.get("ignore") else None


def _listing(counts: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def _read_coco(path: str, needs_boxes: bool) -> dict:
    """Content of a COCO file of which every entry has the keys that detection needs."""
    if not os.path.isfile(path):
        raise UserError(
            f"{path}: the annotation file does not exist; data/README.md tells where sets come from and how they must "
            "lie, and --data-root DIR names another place"
        )
    content = load_json(path)
    parts = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    if isinstance(content, dict) and not needs_boxes:
        content.setdefault("annotations", [])
    for part, keys in parts.items():
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise UserError(f"{path}: not a COCO detection file: it has no list {part!r}")
        for number, entry in enumerate(content[part]):
            absent = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
            if absent or (part == "annotations" and len(entry["bbox"]) != 4):
                raise UserError(
                    f"{path}: {part}[{number}] needs {', '.join(absent) or 'a bbox of four numbers'}; "
                    "`toolkit convert coco` lists all that is wrong and mends it with --fix"
                )
    _check_unique(path, content)
    return content


def _check_unique(path: str, content: dict) -> None:
    for part, key in (("images", "id"), ("annotations", "id"), ("categories", "id"), ("categories", "name")):
        counts = Counter(entry[key] for entry in content[part] if key in entry)
        twice = [str(value) for value, count in counts.items() if count > 1]
        if twice:
            raise UserError(
                f"{path}: {len(twice)} {key}s of {part} occur more than once ({', '.join(twice[:3])}); "
                "`toolkit convert coco --fix` mends it"
            )


def _matching_classes(path: str, content: dict, classes: Iterable[str] | None) -> tuple[str, ...]:
    """`classes` if they are in the file in that order; the file's when there are none."""
    names = tuple(category["name"] for category in content["categories"])
    if classes is None:
        return names
    classes = tuple(classes)
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise UserError(
            f"{path}: has no class {', '.join(map(repr, unknown))} of metainfo.classes; "
            f"its classes are {', '.join(map(repr, names))}"
        )
    ordered = tuple(name for name in names if name in classes)
    if ordered != classes:
        raise UserError(
            f"{path}: has the classes in another order than the config; write metainfo=dict(classes={ordered}), "
            f"or put the file in order with `toolkit convert coco {path} OUT.json --classes {','.join(classes)}`"
        )
    return ordered


def _check_pictures(ann_file: str, paths: list[str]) -> None:
    """Refuse a set of which pictures are missing; one look at each folder."""
    there: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in there:
            there[folder] = set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
        if name not in there[folder]:
            missing.append(path)
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(f"{ann_file}: {len(missing)} of its {len(paths)} pictures are missing: {some}")
