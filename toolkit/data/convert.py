"""Turn annotations of other formats into COCO JSON, and check each one against its picture.

Every picture is decoded once, or only its head is read. What is wrong is counted by kind and listed; only with `fix`
is a file written all the same, and then without what was wrong: boxes that reach outside are clipped, sizes are taken
from the pictures, and what cannot be mended is dropped.
"""

import difflib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from toolkit.data.formats import DUPLICATE, READERS, Annotation, Picture, Source
from toolkit.data.images import image_size, read_image
from toolkit.errors import UserError
from toolkit.files import write_whole

MISSING = "missing picture"
DAMAGED = "picture that cannot be read"
WRONG_SIZE = "size that differs from the picture's"
UNKNOWN = "unknown class"
OUTSIDE = "box that reaches outside the picture"
BEYOND = "box wholly outside the picture"
EMPTY = "box without area"

_ROUNDING = 0.05  # pixels by which a rounded number may pass the edge unreported
_LISTED = 5


@dataclass
class Converted:
    """What `convert` did: the COCO content, how much it holds, and what was wrong."""

    content: dict
    problems: dict[str, list[str]]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the file's categories."""
        return [category["name"] for category in self.content["categories"]]


def convert(
    kind: str,
    source: Path,
    out: Path,
    images: Path | None = None,
    classes: list[str] | None = None,
    names: set[str] | None = None,
    fix: bool = False,
    force: bool = False,
    zero_based: bool = False,
    quick: bool = False,
) -> Converted:
    """Convert the set at `source` to COCO file `out`.

    Args:
        kind: voc, yolo, labelme or coco.
        source: folder of the set; for coco its JSON file.
        out: JSON file to write. Problems go to the file beside it that ends in .problems.txt.
        images: folder of the pictures where it is not the format's usual one.
        classes: class names in the order wanted; None for those that the set names, else those found, sorted.
        names: take only pictures with these names without ending (as VOC's ImageSets/Main/train.txt lists them).
        fix: clip or drop what is wrong and write the rest.
        force: replace `out`.
        zero_based: VOC corners are 0-based edges.
        quick: read only the heads of pictures: much faster, but pictures that are cut off pass.

    Raises:
        UserError: nothing can be read, or something is wrong and `fix` is not set; then `out` is not written.
    """
    if out.exists() and not force:
        raise UserError(f"{out} exists already; name another file or replace it with --force")
    if images is not None and not images.is_dir():
        raise UserError(f"no folder {images} (--images)")
    if not source.exists():
        raise UserError(f"{source} does not exist")
    if (kind == "coco") == source.is_dir():
        raise UserError(f"{source}: {kind} needs {'a JSON file' if kind == 'coco' else 'the folder of the set'}")
    read = _read(kind, source, images, classes, zero_based)
    if names is not None:
        read.pictures = [picture for picture in read.pictures if Path(picture.file_name).stem in names]
        if not read.pictures:
            raise UserError(f"none of the names listed is that of a picture of {source}")
    content = _checked(read, classes, quick)
    _report(read.problems, out, source, fix)
    if not content["images"]:
        raise UserError(f"nothing is left of {source}: no picture could be used")
    write_whole(json.dumps(content).encode(), out)
    return Converted(content, read.problems)


def _read(kind: str, source: Path, images: Path | None, classes: list[str] | None, zero_based: bool) -> Source:
    if kind == "yolo":
        return READERS[kind](source, images, classes)
    if kind != "voc":
        return READERS[kind](source, images)
    read = READERS[kind](source, images, zero_based)
    if any(min(one.box[:2]) == -1 for picture in read.pictures for one in picture.annotations):
        tqdm.write(f"{source} has corners at 0, but VOC counts from 1: if this set counts from 0, use --zero-based")
    return read


def _checked(source: Source, classes: list[str] | None, quick: bool) -> dict:
    """COCO content of all that is sound in `source`, mended where it can be; problems are reported to `source`."""
    categories = _categories(source, classes)
    ids = {category["name"]: category["id"] for category in categories}
    sound = _with_sizes(source, quick)
    images, annotations = [], []
    for number, picture in enumerate(sound, 1):
        image = {"id": number} | picture.keys | {"file_name": picture.file_name}
        image["width"], image["height"] = picture.size
        images.append(image)
        for one in picture.annotations:
            if entry := _annotation(one, picture, ids, source):
                annotations.append(entry | {"image_id": image["id"]})
    for number, entry in enumerate(annotations, 1):
        entry.setdefault("id", number)
    return source.keys | {"images": images, "annotations": annotations, "categories": categories}


def _categories(source: Source, classes: list[str] | None) -> list[dict]:
    """The wanted classes in their order, with the ids that the set has for them where it has ids."""
    if classes is None:
        if source.categories is not None:
            return source.categories
        found = {one.label for picture in source.pictures for one in picture.annotations if one.label}
        return [{"id": number, "name": name} for number, name in enumerate(sorted(found), 1)]
    known = {category["name"]: category for category in source.categories or ()}
    if source.categories and set(classes) <= set(known):
        return [known[name] for name in classes]
    return [{"id": number, "name": name} for number, name in enumerate(classes, 1)]


# --- pictures -------------------------------------------------------------------------------------------------------


def _with_sizes(source: Source, quick: bool) -> list[Picture]:
    """The pictures that can be read, each with its true size."""
    with ThreadPoolExecutor() as pool:
        looks = pool.map(_glance if quick else _look, (picture.path for picture in source.pictures))
        looks = list(tqdm(looks, total=len(source.pictures), desc="reading", unit=" pictures", disable=None))
    sound, taken = [], set()
    for picture, look in zip(source.pictures, looks, strict=True):
        if picture.file_name in taken:
            source.report(DUPLICATE, f"{picture.where}: {picture.file_name} was annotated before")
        elif look is None:
            source.report(MISSING, f"{picture.path} ({picture.where})")
        elif isinstance(look, str):
            source.report(DAMAGED, look)
        else:
            if picture.size not in (None, look):
                source.report(WRONG_SIZE, f"{picture.where}: {_by(picture.size)}, the picture has {_by(look)}")
            picture.size = look
            taken.add(picture.file_name)
            sound.append(picture)
    return sound


def _look(path: Path) -> tuple[int, int] | str | None:
    """(width, height) of a picture that was decoded; what is wrong with it; None if there is none."""
    if not path.is_file():
        return None
    try:
        height, width = read_image(path).shape[:2]
    except UserError as error:
        return str(error)
    return width, height


def _glance(path: Path) -> tuple[int, int] | str | None:
    """`_look` at the picture's head alone."""
    if not path.is_file():
        return None
    try:
        return image_size(path)
    except UserError as error:
        return str(error)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


# --- boxes ----------------------------------------------------------------------------------------------------------


def _annotation(one: Annotation, picture: Picture, ids: dict[str, int], source: Source) -> dict | None:
    """The COCO annotation within its picture, or None where it cannot be kept."""
    if one.label not in ids:
        source.report(UNKNOWN, f"{one.where}: {_unknown(one, ids)}")
        return None
    width, height = picture.size
    polygons = [np.asarray(polygon, float) for polygon in one.segmentation or ()] if _has_polygons(one) else []
    box = np.asarray(one.box, float)
    if picture.relative:
        box = box * (width, height, width, height)
        polygons = [polygon * np.resize((width, height), polygon.size) for polygon in polygons]
    if not (box[2] > 0 and box[3] > 0):
        source.report(EMPTY, f"{one.where}: {_numbers(box)}")
        return None
    clipped = _clip(box, width, height)
    if not (clipped[2] > 0 and clipped[3] > 0):
        source.report(BEYOND, f"{one.where}: {_numbers(box)} in a picture of {_by(picture.size)}")
        return None
    if np.abs(clipped - box).max() > _ROUNDING:
        source.report(OUTSIDE, f"{one.where}: {_numbers(box)} in a picture of {_by(picture.size)}")
    return _entry(one, clipped, [_clip_polygon(polygon, width, height) for polygon in polygons], ids)


def _entry(one: Annotation, box: np.ndarray, polygons: list[np.ndarray], ids: dict[str, int]) -> dict:
    entry = {key: value for key, value in one.keys.items() if key != "class"}
    entry["category_id"] = ids[one.label]
    entry["bbox"] = _rounded(box)
    entry["iscrowd"] = one.iscrowd
    if polygons:
        entry["segmentation"] = [_rounded(polygon) for polygon in polygons]
    elif one.segmentation:
        entry["segmentation"] = one.segmentation
    changed = not np.allclose(box, one.box, atol=_ROUNDING)
    if changed or not entry.get("area"):
        entry["area"] = round(sum(map(_area, polygons)) or float(box[2] * box[3]), 2)
    return entry


def _has_polygons(one: Annotation) -> bool:
    return isinstance(one.segmentation, list)


def _unknown(one: Annotation, ids: dict[str, int]) -> str:
    if one.label is None:
        return f"class number {one.keys.get('class')}"
    near = difflib.get_close_matches(one.label, ids, n=1)
    return repr(one.label) + (f" (near: {near[0]!r})" if near else "")


def _clip(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """[x, y, w, h] cut to the picture."""
    left, top = np.clip(box[:2], 0, (width, height))
    right, bottom = np.clip(box[:2] + box[2:], 0, (width, height))
    return np.array([left, top, right - left, bottom - top])


def _clip_polygon(polygon: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.clip(polygon, 0, np.resize((width, height), polygon.size))


def _area(polygon: np.ndarray) -> float:
    """Area of a polygon x1, y1, x2, y2, ... by the shoelace formula."""
    x, y = polygon[0::2], polygon[1::2]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _rounded(values: Iterable[float]) -> list[float]:
    """Hundredths of a pixel; whole numbers as such."""
    return [int(value) if value == int(value) else value for value in (round(float(v), 2) for v in values)]


def _numbers(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in _rounded(box)) + "]"


# --- output ---------------------------------------------------------------------------------------------------------


def _report(problems: dict[str, list[str]], out: Path, source: Path, fix: bool) -> None:
    """Print the first problems of each kind and write all beside `out`; a `UserError` unless they are to be fixed."""
    path = out.with_suffix(".problems.txt")
    if not problems:
        path.unlink(missing_ok=True)
        return
    for kind, places in problems.items():
        tqdm.write(f"{len(places)} x {kind}")
        for place in places[:_LISTED]:
            tqdm.write(f"    {place}")
        if len(places) > _LISTED:
            tqdm.write(f"    ... and {len(places) - _LISTED} more in {path}")
    lines = [f"{kind}\t{place}" for kind, places in problems.items() for place in places]
    write_whole(("\n".join(lines) + "\n").encode(), path)
    if not fix:
        count = sum(map(len, problems.values()))
        raise UserError(
            f"{source} has {count} problem{'s' * (count > 1)}, all listed in {path}; nothing was written. "
            "Mend them, or clip and drop what is wrong with --fix"
        )
