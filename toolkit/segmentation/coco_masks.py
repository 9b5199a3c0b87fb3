"""Masks of class numbers from COCO's instances or panoptic annotations, one PNG for each picture."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data.formats import load_json
from toolkit.data.images import read_image
from toolkit.errors import UserError, some
from toolkit.segmentation.datasets import IGNORED
from toolkit.segmentation.results import MOST_CLASSES, Segmentation
from toolkit.visualization import class_color

BACKGROUND = "background"


def write_masks(source: Path, out: Path, panoptic: Path | None = None) -> tuple[str, ...]:
    """Write a mask below `out` for each picture that `source` lists, under the picture's name with .png.

    Instances: 0 is what no object covers, 1 the first category, and so on; of objects that overlap the smaller one is
    seen. Panoptic: 0 is the first category, and 255 what has none.

    Args:
        source: JSON of instances (polygons or run lengths), or panoptic JSON.
        out: folder to write to.
        panoptic: folder of the panoptic PNG files; None for instances.

    Returns:
        The classes in the order of their numbers.

    Raises:
        UserError: `source` or a PNG cannot be used; the message names it and the annotation.
    """
    content = _load(source)
    categories = content["categories"]
    classes = tuple(str(category["name"]) for category in categories)
    if panoptic is None:
        classes = (BACKGROUND, *classes)
    if len(classes) > MOST_CLASSES:
        raise UserError(f"{source}: has {len(classes)} classes; masks of one byte a pixel hold {MOST_CLASSES}")
    number = {category["id"]: place for place, category in enumerate(categories, len(classes) - len(categories))}
    palette = tuple(class_color(place)[::-1] for place in range(len(classes)))
    masks = _instances(content, number, source) if panoptic is None else _panoptic(content, panoptic, number, source)
    for name, mask in masks:
        Segmentation(mask, classes, palette).save_mask(out / Path(name).with_suffix(".png"))
    return classes


def _load(source: Path) -> dict[str, Any]:
    content = load_json(source)
    missing = [
        key for key in ("images", "annotations", "categories") if not isinstance(content, dict) or not content.get(key)
    ]
    if missing:
        raise UserError(f"{source}: is no COCO file; it has no {some(missing)}")
    return content


def _instances(content: dict, number: dict[int, int], source: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(file name, mask) of each picture."""
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        size = image["height"], image["width"]
        areas = []
        for annotation in by_image[image["id"]]:
            where = f"{source}: annotation {annotation.get('id')}"
            areas.append((_inside(annotation.get("segmentation"), size, where), _known(annotation, number, where)))
        mask = np.zeros(size, np.uint8)
        for inside, label in sorted(areas, key=lambda pair: -int(pair[0].sum())):
            mask[inside] = label
        yield image["file_name"], mask


def _inside(outline: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """(H, W) bool of polygons or run lengths."""
    from pycocotools import mask as coco_mask

    if not outline:
        raise UserError(f"{where}: has no segmentation; boxes alone make no mask")
    try:
        packed = coco_mask.frPyObjects(outline, *size) if not _is_packed(outline) else outline
        packed = coco_mask.merge(packed) if isinstance(packed, list) else packed
        inside = coco_mask.decode(packed).astype(bool)
    except Exception as error:  # pycocotools raises nothing narrower
        raise UserError(f"{where}: its segmentation is neither polygons nor run lengths ({error})") from None
    if inside.shape != size:
        raise UserError(f"{where}: its run lengths are of {inside.shape[1]}x{inside.shape[0]}, not {size[1]}x{size[0]}")
    return inside


def _is_packed(outline: Any) -> bool:
    return isinstance(outline, dict) and isinstance(outline.get("counts"), str | bytes)


def _panoptic(content: dict, folder: Path, number: dict[int, int], source: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(file name, mask) of each picture; a pixel's id is red + 256 green + 65536 blue."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for annotation in content["annotations"]:
        if "segments_info" not in annotation:
            raise UserError(f"{source}: is not panoptic; leave --panoptic away for instances")
        colors = read_image(folder / annotation["file_name"]).astype(np.uint32)
        ids = colors[..., 2] + 256 * colors[..., 1] + 65536 * colors[..., 0]
        mask = np.full(ids.shape, IGNORED, np.uint8)
        for segment in annotation["segments_info"]:
            mask[ids == segment["id"]] = _known(segment, number, f"{source}: segment {segment['id']}")
        yield names.get(annotation["image_id"], annotation["file_name"]), mask


def _known(entry: dict, number: dict[int, int], where: str) -> int:
    if entry.get("category_id") not in number:
        raise UserError(f"{where}: category_id {entry.get('category_id')} is none of the file's categories")
    return number[entry["category_id"]]
