"""Read the annotation formats that people bring: Pascal VOC, YOLO, labelme and COCO.

Each reader gives the pictures of a set with their objects as they are written, in pixels or, for YOLO, in parts of
the picture's sides. What cannot be read at all goes into the list of problems; what the numbers mean for a picture
is judged later, in `toolkit.data.convert`.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

import yaml

from toolkit.data.images import EXTENSIONS, pictures_below
from toolkit.errors import UserError

UNREADABLE = "annotation that cannot be read"
UNSUPPORTED = "shape that is neither rectangle nor polygon nor circle"
DUPLICATE = "duplicate id or file name"
ORPHAN = "annotation of an image that is not listed"

_CIRCLE_CORNERS = 64


@dataclass
class Annotation:
    """One object.

    Attributes:
        where: file, and line or id, for reports.
        label: class name; None where the file has a number that stands for no class.
        box: [x, y, width, height], 0-based, the right and lower edge excluded.
        segmentation: polygons [[x1, y1, x2, y2, ...], ...], a COCO RLE, or None.
        iscrowd: 1 for regions that neither count as found nor as missed (VOC's difficult objects too).
        keys: what else a COCO file says of it.
    """

    where: str
    label: str | None
    box: list[float]
    segmentation: list | dict | None = None
    iscrowd: int = 0
    keys: dict = field(default_factory=dict)


@dataclass
class Picture:
    """One picture and its objects; `size` is the (width, height) that the annotation claims, if it claims one."""

    where: str
    file_name: str
    path: Path
    size: tuple[int, int] | None = None
    annotations: list[Annotation] = field(default_factory=list)
    relative: bool = False
    keys: dict = field(default_factory=dict)


@dataclass
class Source:
    """A set as it was read.

    Attributes:
        root: folder to which the pictures' file names are relative.
        categories: COCO categories that the set itself names, in its order; None where it names none.
        problems: kind of problem -> where it was met.
        keys: what else a COCO file holds (info, licenses).
    """

    root: Path
    pictures: list[Picture] = field(default_factory=list)
    categories: list[dict] | None = None
    problems: dict[str, list[str]] = field(default_factory=dict)
    keys: dict = field(default_factory=dict)

    def report(self, kind: str, text: str) -> None:
        """Note a problem."""
        self.problems.setdefault(kind, []).append(text)


def load_json(path: Path) -> object:
    """Content of a JSON file; a `UserError` names a file that is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise UserError(f"no annotation file {path}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


# --- Pascal VOC -----------------------------------------------------------------------------------------------------


def read_voc(root: Path, images: Path | None, zero_based: bool = False) -> Source:
    """Annotations/*.xml with pictures in JPEGImages/ (or annotations/ and images/, or all in one folder).

    VOC counts pixels from 1 and includes the last one, so xmin..xmax becomes x = xmin - 1, width = xmax - xmin + 1.
    With `zero_based` the numbers are taken as 0-based edges: x = xmin, width = xmax - xmin.
    """
    folder = _first_folder(root, "Annotations", "annotations")
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise UserError(f"no *.xml in {folder}; VOC sets have Annotations/*.xml and JPEGImages/*.jpg")
    source = Source(images or _first_folder(root, "JPEGImages", "images"))
    names = _PictureNames(source.root)
    for file in files:
        try:
            tree = _parse_xml(file.read_bytes())
        except (ValueError, ElementTree.ParseError, expat.ExpatError) as error:
            source.report(UNREADABLE, f"{file}: {error}")
            continue
        written = PurePosixPath((tree.findtext("filename") or "").replace("\\", "/")).name
        name = names.find(written, file.stem) or written or file.stem
        picture = Picture(str(file), name, source.root / name, _voc_size(tree))
        for number, node in enumerate(tree.iter("object"), 1):
            where = f"{file}, object {number}"
            try:
                picture.annotations.append(_voc_object(node, where, zero_based))
            except (TypeError, ValueError):
                source.report(UNREADABLE, f"{where}: needs <name> and <bndbox> with xmin, ymin, xmax, ymax")
        source.pictures.append(picture)
    return source


def _parse_xml(data: bytes) -> ElementTree.Element:
    """The root element. A document type is refused before it can define entities that grow or name other files."""

    def refuse(*_: object) -> None:
        raise ValueError("has a document type (DOCTYPE), which annotations do not need and which can do harm")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    guard.Parse(data, True)
    return ElementTree.fromstring(data)


def _voc_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(tree.findtext("size/width")), int(tree.findtext("size/height"))
    except (TypeError, ValueError):
        return None


def _voc_object(node: ElementTree.Element, where: str, zero_based: bool) -> Annotation:
    left, top, right, bottom = (float(node.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    label = node.findtext("name").strip() if node.find("name") is not None else None
    if not label or not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError
    one = 0 if zero_based else 1
    box = [left - one, top - one, right - left + one, bottom - top + one]
    return Annotation(where, label, box, iscrowd=int((node.findtext("difficult") or "0").strip() == "1"))


# --- YOLO -----------------------------------------------------------------------------------------------------------


def read_yolo(root: Path, images: Path | None, classes: list[str] | None = None) -> Source:
    """images/ and labels/ (subfolders too), class names in data.yaml, *.names or classes.txt in SRC or above.

    `classes` are the names where no such file is there.

    A line of a label file is `class x_center y_center width height`, or `class x1 y1 x2 y2 ...` for a polygon, all in
    parts of the picture's sides. A picture without a label file has no objects.
    """
    folder = images or _first_folder(root, "images")
    labels = _labels_beside(folder, root)
    named = _yolo_categories(root, labels) or (_numbered(dict(enumerate(classes))) if classes else None)
    source = Source(folder, categories=named)
    by_stem = {picture.relative_to(folder).with_suffix(""): picture for picture in pictures_below(folder)}
    files = {file.relative_to(labels).with_suffix(""): file for file in sorted(labels.rglob("*.txt"))}
    files.pop(Path("classes"), None)
    if not files:
        raise UserError(f"no label files in {labels}; YOLO sets have images/*.jpg and labels/*.txt")
    for stem in sorted(set(by_stem) | set(files)):
        path = by_stem.get(stem, folder / f"{stem}.jpg")
        picture = Picture(str(files.get(stem, path)), path.relative_to(folder).as_posix(), path, relative=True)
        if stem in files:
            picture.annotations = list(_yolo_lines(files[stem], source))
        source.pictures.append(picture)
    return source


def _labels_beside(images: Path, root: Path) -> Path:
    """The folder of labels: `images` with its last part of that name turned into `labels`, else `images` itself."""
    parts = list(images.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        if Path(*parts).is_dir():
            return Path(*parts)
    return root / "labels" if (root / "labels").is_dir() else images


def _yolo_categories(root: Path, labels: Path) -> list[dict] | None:
    for folder in (root, root.parent, labels):
        for file in (folder / "data.yaml", folder / "dataset.yaml"):
            if file.is_file():
                return _numbered(_yaml_names(file))
        for file in (*sorted(folder.glob("*.names")), folder / "classes.txt"):
            if file.is_file():
                return _numbered(dict(enumerate(file.read_text(encoding="utf-8").rstrip().splitlines())))
    return None


def _yaml_names(file: Path) -> dict[int, str]:
    """Class index -> name."""
    try:
        names = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
        return {int(key): name for key, name in (names if isinstance(names, dict) else dict(enumerate(names))).items()}
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} has no `names:` with a list of class names or of `index: name`") from None


def _numbered(names: dict[int, str]) -> list[dict]:
    """COCO categories; their ids are the class indices plus 1."""
    return [{"id": index + 1, "name": str(names[index]).strip()} for index in sorted(names)]


def _yolo_lines(file: Path, source: Source) -> Iterator[Annotation]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            yield _yolo_object(line.split(), where, source.categories)
        except ValueError:
            source.report(UNREADABLE, f"{where}: needs `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...`")


def _yolo_object(words: list[str], where: str, categories: list[dict] | None) -> Annotation:
    index, numbers = int(words[0]), [float(word) for word in words[1:]]
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    if categories is None:
        label = str(index)
    else:
        label = next((category["name"] for category in categories if category["id"] == index + 1), None)
    if len(numbers) == 4:
        x, y, width, height = numbers
        return Annotation(where, label, [x - width / 2, y - height / 2, width, height], keys={"class": index})
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError
    return Annotation(where, label, _extent([numbers]), [numbers], keys={"class": index})


# --- labelme --------------------------------------------------------------------------------------------------------


def read_labelme(root: Path, images: Path | None) -> Source:
    """One *.json for each picture, in SRC or below, with rectangles, polygons and circles.

    Shapes of one class and group are one object. A circle becomes a polygon.
    """
    files = sorted(root.rglob("*.json"))
    source = Source(images or root)
    for file in files:
        try:
            content = load_json(file)
        except UserError as error:
            source.report(UNREADABLE, str(error))
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            continue  # some other JSON that lies in the folder
        source.pictures.append(_labelme_picture(content, file, images or file.parent, source))
    if not source.pictures and not source.problems:
        raise UserError(f"no labelme *.json (with `shapes` and `imagePath`) in {root}")
    return source


def _labelme_picture(content: dict, file: Path, folder: Path, source: Source) -> Picture:
    written = str(content.get("imagePath") or "").replace("\\", "/")
    path = folder / written
    if not path.is_file():
        path = folder / (PurePosixPath(written).name or file.stem)
    size = content.get("imageWidth"), content.get("imageHeight")
    picture = Picture(str(file), _relative(path, source.root), path, size if all(size) else None)
    groups: dict[object, Annotation] = {}
    for number, shape in enumerate(content["shapes"], 1):
        where = f"{file}, shape {number}"
        if shape.get("shape_type", "polygon") not in ("rectangle", "polygon", "circle"):
            source.report(UNSUPPORTED, f"{where}: {shape['shape_type']}")
            continue
        try:
            label, points = _labelme_points(shape)
        except (KeyError, TypeError, ValueError):
            source.report(UNREADABLE, f"{where}: needs `label` and 2 points of a rectangle or circle or 3 of a polygon")
            continue
        key = (label, shape["group_id"]) if shape.get("group_id") is not None else number
        one = groups.setdefault(key, Annotation(where, label, [], []))
        one.segmentation.append(points)
        one.box = _extent(one.segmentation)
    picture.annotations = list(groups.values())
    return picture


def _labelme_points(shape: dict) -> tuple[str, list[float]]:
    """(label, polygon as x1, y1, x2, y2, ...)."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError
    if shape.get("shape_type") == "rectangle":
        (x1, y1), (x2, y2) = points[0], points[-1] if len(points) == 2 else points[2]
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    if shape.get("shape_type") == "circle":  # its middle and a point of its edge
        (x, y), edge = points
        radius, angles = math.dist((x, y), edge), [math.tau * step / _CIRCLE_CORNERS for step in range(_CIRCLE_CORNERS)]
        points = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    if len(points) < 3:
        raise ValueError
    return str(shape["label"]), [value for point in points for value in point]


# --- COCO -----------------------------------------------------------------------------------------------------------


def read_coco(file: Path, images: Path | None) -> Source:
    """A COCO JSON file; pictures in `images`, else in a folder of its name (train.json, train/), else beside it."""
    content = load_json(file)
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise UserError(f"{file} is not COCO: it needs the lists {', '.join(lists)}")
    beside = file.with_suffix("")
    source = Source(images or (beside if beside.is_dir() else file.parent))
    source.keys = {key: value for key, value in content.items() if key not in lists}
    source.categories = _unique(content["categories"], "category", source, "name")
    names = {category["id"]: category["name"] for category in source.categories}
    pictures = {}
    for entry in _unique(content["images"], "image", source, "file_name"):
        size = (entry.get("width"), entry.get("height"))
        path, where = source.root / entry["file_name"], f"image id {entry['id']}"
        picture = Picture(where, entry["file_name"], path, size if all(size) else None, keys=entry)
        pictures[entry["id"]] = picture
    for number, entry in enumerate(content["annotations"], 1):
        _add_coco_annotation(entry, number, pictures, names, source)
    _renumber_duplicates([a for picture in pictures.values() for a in picture.annotations], source)
    source.pictures = list(pictures.values())
    return source


def _unique(entries: list, kind: str, source: Source, name_key: str) -> list[dict]:
    """The entries that have an id and a name that none before them had."""
    ids, names, kept = set(), set(), []
    for number, entry in enumerate(entries, 1):
        if not (
            isinstance(entry, dict) and isinstance(entry.get("id"), int | str) and isinstance(entry.get(name_key), str)
        ):
            source.report(UNREADABLE, f"{kind} {number}: needs id and {name_key}")
        elif entry["id"] in ids or entry[name_key] in names:
            source.report(DUPLICATE, f"{kind} id {entry['id']}, {entry[name_key]}")
        else:
            ids.add(entry["id"])
            names.add(entry[name_key])
            kept.append(entry)
    return kept


def _add_coco_annotation(
    entry: dict, number: int, pictures: dict[int, Picture], names: dict[int, str], source: Source
) -> None:
    where = f"annotation id {entry.get('id', f'missing (number {number})')}" if isinstance(entry, dict) else ""
    try:
        picture = pictures.get(entry["image_id"])
        segmentation = entry.get("segmentation") or None
        box = [float(value) for value in entry.get("bbox") or _extent(segmentation)]
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise ValueError
        label = names.get(entry["category_id"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        source.report(UNREADABLE, f"{where or f'annotation number {number}'}: needs image_id, category_id and bbox")
        return
    if picture is None:
        source.report(ORPHAN, f"{where}: image_id {entry['image_id']}")
        return
    one = Annotation(where, label, box, segmentation, int(bool(entry.get("iscrowd"))), dict(entry))
    one.keys.setdefault("class", entry["category_id"])
    picture.annotations.append(one)


def _renumber_duplicates(annotations: list[Annotation], source: Source) -> None:
    """Give annotations without an id, or with one that an earlier one has, an id of their own."""
    seen: set = set()
    free = max((a.keys["id"] for a in annotations if isinstance(a.keys.get("id"), int)), default=0) + 1
    for one in annotations:
        if "id" in one.keys and one.keys["id"] in seen:
            source.report(DUPLICATE, one.where)
        if "id" not in one.keys or one.keys["id"] in seen:
            one.keys["id"], free = free, free + 1
        seen.add(one.keys["id"])


READERS: dict[str, Callable[..., Source]] = {
    "voc": read_voc,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "coco": read_coco,
}


# --- shared ---------------------------------------------------------------------------------------------------------


class _PictureNames:
    """The pictures of one folder, found by name or, failing that, by name without ending."""

    def __init__(self, folder: Path):
        paths = [path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS] if folder.is_dir() else []
        self.names = {path.name for path in paths}
        self.by_stem = {path.stem: path.name for path in paths}

    def find(self, name: str, stem: str) -> str | None:
        return name if name in self.names else self.by_stem.get(PurePosixPath(name).stem) or self.by_stem.get(stem)


def _first_folder(root: Path, *names: str) -> Path:
    """The first folder of these names in `root`, else `root` itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def _relative(path: Path, root: Path) -> str:
    """`path` from `root` on, going up where it must."""
    return Path(os.path.relpath(path, root)).as_posix()


def _extent(polygons: list[list[float]]) -> list[float]:
    """[x, y, width, height] of all points of [[x1, y1, x2, y2, ...], ...]."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
