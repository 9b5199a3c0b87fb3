"""Read head points of the known crowd sets, in their published layouts, into the one form of `CrowdPoints`.

A set is known by what lies beside or around its pictures:

    ShanghaiTech   images/IMG_1.jpg    ground_truth/GT_IMG_1.mat    image_info
    UCF-QNRF       img_0001.jpg        img_0001_ann.mat             annPoints
    UCF_CC_50      1.jpg               1_ann.mat                    annPoints
    JHU-Crowd++    images/0001.jpg     gt/0001.txt                  x y width height occlusion blur, a head a line
    NWPU           images/0001.jpg     mats/0001.mat, jsons/0001.json   annPoints; points
    Mall           frames/seq_000001.jpg   mall_gt.mat              frame
    COCO           a JSON file         keypoints of heads, else boxes
    points         a JSON file         our own form, or {"a.jpg": [[x, y], ...]}

Coordinates are taken as they are written; heads up to a pixel outside are moved to the border, others are left out.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data.formats import load_json
from toolkit.data.images import image_size, pictures_below
from toolkit.errors import UserError, some

HEAD_KEYPOINTS = 5  # nose, eyes and ears come first in COCO
HEAD_HEIGHT = 0.1  # of a standing person's box, from its upper edge


def _as_points(values: Any, where: Path | str) -> np.ndarray:
    try:
        points = np.asarray(values, np.float64)
        points = points.reshape(-1, 2) if points.size == 0 else points[:, :2]
    except (ValueError, TypeError, IndexError):
        raise UserError(f"{where}: its points are not two numbers each") from None
    if not np.isfinite(points).all():
        raise UserError(f"{where}: its points are not finite numbers")
    return points


def _load_mat(path: Path) -> dict:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path)
    except NotImplementedError:
        raise UserError(f"{path}: MATLAB 7.3 files cannot be read; save it with -v7") from None
    except (MatReadError, ValueError, TypeError, OSError) as error:
        raise UserError(f"{path}: not a MATLAB file ({error})") from None


def read_mat(path: Path) -> np.ndarray:
    """(N, 2) heads of one picture's MATLAB file: `image_info` as in ShanghaiTech or `annPoints` as in UCF and NWPU."""
    content = _load_mat(path)
    if "annPoints" in content:
        return _as_points(content["annPoints"], path)
    if "image_info" in content:
        return _as_points(content["image_info"][0, 0][0, 0]["location"], path)
    raise UserError(f"{path}: has neither image_info nor annPoints")


def read_lines(path: Path) -> np.ndarray:
    """(N, 2) heads of a text file with x and y first on each line, as in JHU-Crowd++."""
    try:
        lines = [line.replace(",", " ").split()[:2] for line in path.read_text().splitlines() if line.strip()]
        return _as_points([[float(word) for word in line] for line in lines], path)
    except ValueError:
        raise UserError(f"{path}: a line does not begin with x and y") from None


def read_json(path: Path) -> np.ndarray:
    """(N, 2) heads of one picture's JSON file with `points`, as in NWPU."""
    content = load_json(path)
    if not isinstance(content, dict) or "points" not in content:
        raise UserError(f"{path}: has no 'points'")
    return _as_points(content["points"], path)


READERS: dict[str, Callable[[Path], np.ndarray]] = {".mat": read_mat, ".txt": read_lines, ".json": read_json}


def _annotation_of(picture: Path) -> Path | None:
    """The file that belongs to one picture; None if there is none."""
    stem, above = picture.stem, picture.parent.parent
    names = [
        above / "ground_truth" / f"GT_{stem}.mat",
        above / "ground-truth" / f"GT_{stem}.mat",
        picture.with_name(re.sub(r"IMG_(\d+)$", r"GT_IMG_\1", stem) + ".mat"),
        picture.with_name(f"{stem}_ann.mat"),
        above / "gt" / f"{stem}.txt",
        above / "mats" / f"{stem}.mat",
        above / "jsons" / f"{stem}.json",
    ]
    return next((name for name in names if name.is_file()), None)


def _mall(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    content = _load_mat(folder / "mall_gt.mat")
    for number, frame in enumerate(content["frame"].ravel(), 1):
        points = _as_points(frame[0, 0]["loc"], folder / "mall_gt.mat") - 1  # MATLAB counts from 1
        yield folder / "frames" / f"seq_{number:06d}.jpg", points


def _pictures(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    pairs = [(path, _annotation_of(path)) for path in pictures_below(folder)]
    known = [(path, annotation) for path, annotation in pairs if annotation is not None]
    if not known:
        raise UserError(f"{folder}: no picture has head points beside it; data/README.md shows the layouts")
    without = [path.name for path, annotation in pairs if annotation is None]
    if without:
        raise UserError(f"{folder}: {len(without)} of {len(pairs)} pictures have no head points: {some(without)}")
    for path, annotation in known:
        yield path, READERS[annotation.suffix](annotation)


def _coco_head(annotation: dict) -> list[float] | None:
    """The mean of the visible keypoints of the head, else the place in the box where a standing person's head is."""
    keypoints = np.asarray(annotation.get("keypoints") or [], float).reshape(-1, 3)[:HEAD_KEYPOINTS]
    seen = keypoints[keypoints[:, 2] > 0, :2]
    if len(seen):
        return seen.mean(0).tolist()
    if "bbox" not in annotation:
        return None
    x, y, width, height = annotation["bbox"]
    return [x + width / 2, y + HEAD_HEIGHT * height]


def _from_json(file: Path, images: Path) -> Iterator[tuple[Path, np.ndarray]]:
    content = load_json(file)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list) and "images" in content:
        heads: dict[Any, list] = {image["id"]: [] for image in content["images"]}
        for one in content["annotations"]:
            head = None if one.get("iscrowd") or one.get("image_id") not in heads else _coco_head(one)
            if head is not None:
                heads[one["image_id"]].append(head)
        for image in content["images"]:
            yield images / image["file_name"], _as_points(heads[image["id"]], file)
    elif isinstance(content, dict) and isinstance(content.get("images"), list):
        for image in content["images"]:
            yield images / image["file_name"], _as_points(image["points"], file)
    elif isinstance(content, dict) and content and all(isinstance(points, list) for points in content.values()):
        for name, points in content.items():
            yield images / name, _as_points(points, file)
    else:
        raise UserError(f"{file}: neither COCO nor a file of points; data/README.md shows the forms")


def read_crowd(source: Path, images: Path | None = None) -> tuple[list[dict[str, Any]], Path, int]:
    """The pictures of a set with their heads.

    Args:
        source: folder of a set or of one split of it, or a JSON file.
        images: folder of the pictures for a JSON file; its own folder, or that of its name beside it, by default.

    Returns:
        entries as `CrowdPoints` reads them, the folder that their names are relative to, and how many heads lay
        outside their pictures.

    Raises:
        UserError: no set is recognised, or a file cannot be read.
    """
    if source.is_file():
        beside = source.with_suffix("")
        root = images or (beside if beside.is_dir() else source.parent)
        pairs = _from_json(source, root)
    elif not source.is_dir():
        raise UserError(f"{source} does not exist")
    elif (source / "mall_gt.mat").is_file():
        root, pairs = source / "frames", _mall(source)
    else:
        root, pairs = source, _pictures(source)
        root = root / "images" if (root / "images").is_dir() else root
    entries, outside = [], 0
    for path, points in pairs:
        width, height = image_size(path)
        limits = np.array([width, height])
        near = ((points >= -1) & (points <= limits + 1)).all(1)
        outside += int((~near).sum())
        points = np.clip(points[near], 0, limits - 0.01).round(2)
        name = path.relative_to(root).as_posix()
        entries.append(dict(file_name=name, width=width, height=height, count=len(points), points=points.tolist()))
    return entries, root, outside
