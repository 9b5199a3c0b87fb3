"""A synthetic set for detection and segmentation: five kinds of shapes on textured ground, exact to the pixel.

Each picture holds shapes of five kinds that differ by outline alone: colour, filling (plain, gradient, stripes,
checks, dots), rotation, stretch and size (diameters 1:12) say nothing about the class. Shapes overlap and leave the
picture; curved lines and soft blobs, which are not labelled, lie under them; light, shadow, blur and noise go over all.

What is labelled is what can be seen: a mask holds the pixels of which the shape covers at least half and which no
later shape covers, and a box is the extent of that mask. A place that would leave any shape less than three quarters
of its area in sight is not taken, so nothing drawn goes unlabelled.

The set is made from its seed alone, byte for byte (with one release of NumPy and OpenCV), and a picture does not
depend on how many others there are.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from toolkit.data.made_folder import made_folder

CLASSES = ("circle", "triangle", "square", "star", "ring")
LARGEST = 0.8  # diameter of the largest shape as a part of the picture's side
SCALE_RANGE = 12  # largest diameter over smallest
MIN_VISIBLE = 3 / 4
_SUPERSAMPLE = 4
_SPLIT_SEED = {"train": 0, "val": 1}
_CC0 = {"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}


@dataclass
class Shape:
    """One shape of a picture.

    Attributes:
        label: index into `CLASSES`.
        mask: (H, W) bool, the pixels in which it is seen.
        area: pixels that it would cover if nothing hid it, those beyond the picture's edge included.
    """

    label: int
    mask: np.ndarray
    area: float

    @property
    def box(self) -> list[int]:
        """Extent of the mask as [x, y, width, height] in pixels."""
        x, y, width, height = cv2.boundingRect(self.mask.astype(np.uint8))
        return [x, y, width, height]


def make_picture(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[Shape]]:
    """Draw one picture: (size, size, 3) uint8 BGR and its shapes, those on top last."""
    canvas = _ground(rng, size)
    _draw_distractors(rng, canvas)
    shadow = rng.uniform(0.15, 0.45) if rng.random() < 0.6 else 0.0
    shapes: list[Shape] = []
    for _ in range(rng.integers(4, 13)):
        _add_shape(rng, canvas, shapes, shadow)
    return _photograph(rng, canvas), shapes


def class_mask(shapes: list[Shape], size: int) -> np.ndarray:
    """(size, size) uint8: 0 where no shape is seen, else 1 + label."""
    mask = np.zeros((size, size), np.uint8)
    for shape in shapes:
        mask[shape.mask] = shape.label + 1
    return mask


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE counts of a (H, W) bool mask: runs of 0, 1, 0, ... down its columns."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat[0] else counts


def make_set(out: Path, train: int, val: int, size: int, seed: int, force: bool = False) -> None:
    """Write a whole set to folder `out`, which appears only when it is complete.

    Args:
        out: folder to make; holds train/, val/, masks/, train.json, val.json and README.md afterwards.
        train: number of training pictures, `val` that of validation pictures.
        size: side of the pictures in pixels, at least 96 (the smallest shapes then have a diameter of 6).
        seed: the set's seed.
        force: replace an earlier set at `out`.

    Raises:
        UserError: `out` exists and is not to be replaced, or cannot be written.
    """
    with made_folder(out, "a set of shapes", ("train.json", "masks"), force) as partial:
        for split, count in (("train", train), ("val", val)):
            _write_split(partial, split, count, size, seed)
        (partial / "README.md").write_text(_readme(train, val, size, seed), encoding="utf-8")


def _write_split(root: Path, split: str, count: int, size: int, seed: int) -> None:
    (root / split).mkdir(parents=True)
    (root / "masks" / split).mkdir(parents=True)
    images, annotations = [], []
    for index in tqdm(range(count), desc=split, unit=" pictures", disable=None):
        picture, shapes = make_picture(np.random.default_rng([seed, _SPLIT_SEED[split], index]), size)
        name = f"{index:06d}"
        _write_image(root / split / f"{name}.jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
        _write_image(root / "masks" / split / f"{name}.png", class_mask(shapes, size), [])
        images.append({"id": index + 1, "file_name": f"{name}.jpg", "width": size, "height": size, "license": 1})
        annotations += [_annotation(shape, index + 1) for shape in shapes]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    _write_json(root / f"{split}.json", images, annotations)


def _annotation(shape: Shape, image_id: int) -> dict:
    return {
        "image_id": image_id,
        "category_id": shape.label + 1,
        "bbox": shape.box,
        "area": int(shape.mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(shape.mask.shape), "counts": run_lengths(shape.mask)},
    }


def _write_json(path: Path, images: list[dict], annotations: list[dict]) -> None:
    content = {
        "info": {"description": "Synthetic shapes made by the toolkit's make-shapes", "version": "1"},
        "licenses": [_CC0],
        "categories": [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES, 1)],
        "images": images,
        "annotations": annotations,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    # cv2.imwrite tells neither why it failed nor, with a full disk, that it did
    _, data = cv2.imencode(path.suffix, image, options)
    path.write_bytes(data.tobytes())


def _readme(train: int, val: int, size: int, seed: int) -> str:
    names = ", ".join(f"{i} {name}" for i, name in enumerate(CLASSES, 1))
    return (
        "# Synthetic shapes\n\n"
        f"{train} training and {val} validation pictures of {size}x{size} pixels, seed {seed}. Made again with\n"
        f"`toolkit make-shapes OUT --train {train} --val {val} --size {size} --seed {seed}`.\n\n"
        "- `train.json`, `val.json`: COCO boxes and RLE masks of `train/*.jpg`, `val/*.jpg`; both cover what is seen.\n"
        f"- `masks/train/*.png`, `masks/val/*.png`: class index of each pixel: 0 ground, {names}.\n\n"
        "Licence: CC0 1.0 (public domain).\n"
    )


# --- the ground -----------------------------------------------------------------------------------------------------


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32: a dull colour with slow and fine variation, at times with stripes."""
    canvas = np.full((size, size, 3), _color(rng, saturation=(0.05, 0.4), value=(0.25, 0.85)), np.float32)
    canvas += _noise(rng, size, cells=rng.integers(3, 7), amplitude=rng.uniform(8, 22), channels=3)
    canvas += _noise(rng, size, cells=size // rng.integers(4, 12), amplitude=rng.uniform(2, 10), channels=1)
    if rng.random() < 0.35:
        y, x = np.mgrid[0:size, 0:size].astype(np.float32)
        wave = _wave(rng, x, y, period=rng.uniform(0.06, 0.25) * size)
        canvas += (wave * rng.uniform(4, 14))[..., None]
    return canvas


def _noise(rng: np.random.Generator, size: int, cells: int, amplitude: float, channels: int) -> np.ndarray:
    """(size, size, channels) float32 smooth noise of `cells` bumps a side."""
    coarse = rng.normal(0, amplitude, (cells, cells, channels)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)


def _wave(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    return np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + phase)


def _color(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """A BGR colour of any hue, (3,) float32 in 0..255."""
    hsv = np.float32([[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255


def _draw_distractors(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Curved lines and soft blobs, which no label names."""
    size = len(canvas)
    for _ in range(rng.integers(0, 4)):
        ends = rng.uniform(-0.1, 1.1, (3, 2)) * size
        t = np.linspace(0, 1, 40)[:, None]
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        color = _color(rng, saturation=(0.1, 0.7), value=(0.2, 0.9)).tolist()
        thickness = int(rng.integers(1, max(2, size // 100) + 1))
        cv2.polylines(canvas, [np.round(curve).astype(np.int32)], False, color, thickness, cv2.LINE_AA)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(rng.integers(0, 4)):
        center, radius = rng.uniform(0, size, 2), rng.uniform(0.02, 0.1) * size
        weight = rng.uniform(0.3, 0.7) * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * radius**2))
        canvas += weight[..., None] * (_color(rng, saturation=(0.1, 0.7), value=(0.2, 0.9)) - canvas)


# --- one shape ------------------------------------------------------------------------------------------------------


def _add_shape(rng: np.random.Generator, canvas: np.ndarray, shapes: list[Shape], shadow: float) -> None:
    """Draw a shape where it and all before it stay in sight, or none if 20 tries find no such place."""
    size = len(canvas)
    for _ in range(20):
        label = int(rng.integers(len(CLASSES)))
        # log-uniform over the range, but fewer towards its ends
        diameter = LARGEST * size * SCALE_RANGE ** (rng.beta(3, 3) - 1)
        cover, corner, area = _cover(rng, label, diameter, rng.uniform(0.03, 0.97, 2) * size)
        alpha = _paste(cover, corner, size)
        mask = alpha >= 0.5
        if mask.sum() < MIN_VISIBLE * area or _hides_another(mask, shapes):
            continue
        for other in shapes:
            other.mask &= ~mask
        _paint(rng, canvas, alpha, diameter, shadow)
        shapes.append(Shape(label, mask, area))
        return


def _hides_another(mask: np.ndarray, shapes: Iterable[Shape]) -> bool:
    return any((shape.mask & ~mask).sum() < MIN_VISIBLE * shape.area for shape in shapes)


def _outlines(label: int) -> list[np.ndarray]:
    """Closed outlines within the unit circle, each (N, 2); inside of an odd number of them is inside of the shape."""
    if CLASSES[label] == "circle":
        return [_polygon(72)]
    if CLASSES[label] == "triangle":
        return [_polygon(3)]
    if CLASSES[label] == "square":
        return [_polygon(4)]
    if CLASSES[label] == "star":
        return [_polygon(10) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]]
    return [_polygon(72), _polygon(72) * 0.55]


def _polygon(corners: int) -> np.ndarray:
    angles = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _cover(
    rng: np.random.Generator, label: int, diameter: float, center: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Share of each pixel that the turned and stretched shape covers.

    Returns:
        (h, w) float32 in 0..1; the (x, y) of its first pixel in the picture; its area in whole pixels.
    """
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]]) * (diameter / 2)
    side = int(np.ceil(diameter)) + 3
    corner = np.floor(center - side / 2).astype(int)
    fine = np.zeros((side * _SUPERSAMPLE, side * _SUPERSAMPLE), np.uint8)
    # cv2 puts integer coordinates at the middle of a pixel, hence the half
    outlines = [
        ((outline * (1, stretch)) @ turn + center - corner) * _SUPERSAMPLE - 0.5 for outline in _outlines(label)
    ]
    cv2.fillPoly(fine, [np.round(outline * 256).astype(np.int32) for outline in outlines], 255, cv2.LINE_8, 8)
    cover = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cover, corner, float((cover >= 0.5).sum())


def _paste(cover: np.ndarray, corner: np.ndarray, size: int) -> np.ndarray:
    """`cover` at `corner` of an empty (size, size) plane; what lies outside is cut off."""
    plane = np.zeros((size, size), np.float32)
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + cover.shape[1], size), min(y + cover.shape[0], size)
    if left < right and top < bottom:
        plane[top:bottom, left:right] = cover[top - y : bottom - y, left - x : right - x]
    return plane


def _paint(rng: np.random.Generator, canvas: np.ndarray, alpha: np.ndarray, diameter: float, shadow: float) -> None:
    """Blend a filled shape over the canvas, at times with a soft shadow below it."""
    if shadow:
        reach = 0.04 * diameter + 1
        shift = np.float32([[1, 0, reach], [0, 1, reach]])
        dark = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, alpha.shape[::-1]), (0, 0), reach)
        canvas *= 1 - shadow * dark[..., None]
    x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    part, weight = canvas[y : y + height, x : x + width], alpha[y : y + height, x : x + width, None]
    under = (part * weight).sum((0, 1)) / weight.sum()
    part += weight * (_fill(rng, height, width, _contrasting(rng, under), diameter) - part)


def _contrasting(rng: np.random.Generator, under: np.ndarray) -> np.ndarray:
    """A vivid colour that differs from the colour `under` it; of several the first that does so enough."""
    colors = [_color(rng, saturation=(0.35, 0.95), value=(0.35, 1.0)) for _ in range(8)]
    distances = [np.linalg.norm(color - under) for color in colors]
    return next((c for c, d in zip(colors, distances, strict=True) if d > 90), colors[int(np.argmax(distances))])


def _fill(rng: np.random.Generator, height: int, width: int, color: np.ndarray, diameter: float) -> np.ndarray:
    """(height, width, 3) float32: `color` with a gradient, stripes, checks, dots or none of them, and fine noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = max(5.0, diameter * rng.uniform(0.12, 0.3))
    kind = rng.choice(["plain", "gradient", "stripes", "checks", "dots"], p=[0.3, 0.3, 0.2, 0.1, 0.1])
    if kind == "gradient":
        pattern = _wave(rng, x, y, period=diameter * 2.5)
    elif kind == "stripes":
        pattern = np.tanh(3 * _wave(rng, x, y, period))
    elif kind == "checks":
        pattern = np.tanh(4 * np.sin(x * (2 * np.pi / period)) * np.sin(y * (2 * np.pi / period)))
    elif kind == "dots":
        pattern = np.tanh(4 * (np.cos(x * (2 * np.pi / period)) + np.cos(y * (2 * np.pi / period)) - 0.8))
    else:
        pattern = np.zeros_like(x)
    change = _color(rng, saturation=(0.0, 0.6), value=(0.3, 1.0)) - color
    fill = color + pattern[..., None] * rng.uniform(0.08, 0.3) * change
    return fill + rng.normal(0, rng.uniform(0, 5), (height, width, 1)).astype(np.float32)


# --- the camera -----------------------------------------------------------------------------------------------------


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Uneven light, blur and sensor noise over the canvas, to uint8."""
    size = len(canvas)
    light = 1 + _noise(rng, size, cells=2, amplitude=0.1, channels=1)
    picture = canvas * np.clip(light, 0.6, 1.4) * rng.uniform(0.85, 1.15)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0) * size / 320)
    picture += rng.normal(0, rng.uniform(1, 6), picture.shape)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)
