"""Things that pass by, drawn or cut out of pictures: a runner, a bicycle with its rider, a car.

A passer is drawn for the metres it has gone, so that legs and wheels turn as it moves. It goes to the right; the
picture of one that goes to the left is its mirror image.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from toolkit.data.images import read_image
from toolkit.errors import UserError

PERSON = 1.75  # metres
KINDS = ("bicycle", "car", "runner")
SPEEDS = {"bicycle": 5.5, "car": 8.0, "runner": 4.0}  # metres a second
SIZES = {"bicycle": (2.0, 1.9), "car": (4.5, 1.6), "runner": (1.9, 1.9)}  # metres of the drawn picture
_FINE = 4  # drawn so many times as large
_SKIN, _DARK, _GLASS = (150, 175, 215), (35, 35, 40), (120, 105, 90)

# Cut-outs: COCO's class, height in metres, and what height by width a side view has.
_CLASSES = {"bicycle": ("bicycle", 1.05, 0.4, 1.1), "car": ("car", 1.5, 0.25, 0.75), "runner": ("person", 1.75, 1.6, 5)}
_LEAST = 40  # pixels of a cut-out's height

Point = tuple[float, float]
Picture = tuple[np.ndarray, np.ndarray]


@dataclass
class Passer:
    """One thing that passes by.

    Attributes:
        kind: one of `KINDS`.
        speed: metres a second.
        size: (width, height) of its picture in metres, its lower edge on the ground.
        drawn: whether it is not cut out of a picture.
        draw: of metres gone and pixels a metre: colours (H, W, 3) in 0..255 BGR and opacity (H, W) in 0..1, float32.
    """

    kind: str
    speed: float
    size: tuple[float, float]
    draw: Callable[[float, float], Picture]
    drawn: bool = True


def make_passer(kind: str, rng: np.random.Generator, cutouts: Sequence[tuple[Path, dict]] = ()) -> Passer:
    """A passer with random speed: one of the `cutouts` of `find_cutouts`, or drawn in random colours without any."""
    speed = SPEEDS[kind] * rng.uniform(0.85, 1.2)
    if cutouts:
        return _cut_out(kind, speed, *cutouts[rng.integers(len(cutouts))])
    colors = [tuple(int(value) for value in rng.integers(20, 236, 3)) for _ in range(2)]
    return Passer(kind, speed, SIZES[kind], partial(_draw, kind, colors))


# --- drawn ----------------------------------------------------------------------------------------------------------


class _Canvas:
    """Draws in metres: x forward from the middle, y up from the ground."""

    def __init__(self, size: tuple[float, float], scale: float):
        self.shape = max(2, round(size[1] * scale)), max(2, round(size[0] * scale))
        self.scale = scale * _FINE
        height, width = (side * _FINE for side in self.shape)
        self.colors, self.cover = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)

    def _place(self, point: Point) -> Point:
        return self.cover.shape[1] / 2 + point[0] * self.scale, self.cover.shape[0] - point[1] * self.scale

    def limb(self, points: list[Point], width: float, color: tuple) -> None:
        corners = np.round([self._place(point) for point in points]).astype(np.int32)
        thickness = max(1, round(width * self.scale))
        for plane, value in ((self.colors, color), (self.cover, 255)):
            cv2.polylines(plane, [corners], False, value, thickness)

    def disc(self, center: Point, radius: float, color: tuple, rim: float = 0.0) -> None:
        middle, thickness = [round(value) for value in self._place(center)], max(1, round(rim * self.scale))
        for plane, value in ((self.colors, color), (self.cover, 255)):
            cv2.circle(plane, middle, max(1, round(radius * self.scale)), value, thickness if rim else -1)

    def area(self, points: list[Point], color: tuple) -> None:
        corners = np.round([self._place(point) for point in points]).astype(np.int32)
        for plane, value in ((self.colors, color), (self.cover, 255)):
            cv2.fillPoly(plane, [corners], value)

    def picture(self) -> Picture:
        """Lighter above than below, as daylight makes it."""
        height, width = self.shape
        alpha = cv2.resize(self.cover, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        weighted = cv2.resize(self.colors.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        light = np.linspace(1.1, 0.8, height, dtype=np.float32)[:, None, None]
        return np.clip(weighted / np.maximum(alpha, 1e-3)[..., None] * light, 0, 255), alpha


def _draw(kind: str, colors: list[tuple], metres: float, scale: float) -> Picture:
    canvas = _Canvas(SIZES[kind], scale)
    {"bicycle": _cyclist, "car": _car, "runner": _runner}[kind](canvas, metres, *colors)
    return canvas.picture()


def _from(point: Point, angle: float, length: float) -> Point:
    """The end of a limb that hangs from `point`, `angle` forward of straight down."""
    return point[0] + length * math.sin(angle), point[1] - length * math.cos(angle)


def _darker(color: tuple) -> tuple:
    return tuple(round(0.65 * value) for value in color)


def _runner(canvas: _Canvas, metres: float, shirt: tuple, trousers: tuple) -> None:
    phase = 2 * math.pi * metres / 2.4
    legs = [_leg((0.0, 0.0), phase + turn) for turn in (math.pi, 0)]
    lift = -min(y for leg in legs for _, y in leg) + 0.05  # the lower foot is on the ground
    legs = [[(x, y + lift) for x, y in leg] for leg in legs]
    hip, shoulder = (0.0, lift), (0.13, lift + 0.52)
    arms = []
    for turn in (math.pi, 0):
        angle = -0.8 * math.sin(phase + turn)
        elbow = _from(shoulder, angle, 0.29)
        arms.append([shoulder, elbow, _from(elbow, angle + 1.5, 0.27)])
    canvas.limb(legs[0], 0.13, _darker(trousers))
    canvas.limb(arms[0], 0.09, _darker(shirt))
    canvas.limb([hip, shoulder], 0.28, shirt)
    canvas.disc((0.19, lift + 0.74), 0.12, _SKIN)
    canvas.limb(legs[1], 0.14, trousers)
    canvas.limb(arms[1], 0.1, _SKIN)


def _leg(hip: Point, phase: float) -> list[Point]:
    angle = 0.8 * math.sin(phase)
    knee = _from(hip, angle, 0.44)
    shin = angle - 0.2 - 1.1 * max(0.0, math.cos(phase))  # folded while it swings forward
    ankle = _from(knee, shin, 0.44)
    return [hip, knee, ankle, _from(ankle, shin + 1.5, 0.15)]


def _cyclist(canvas: _Canvas, metres: float, shirt: tuple, frame: tuple) -> None:
    radius, rear, front, crank = 0.33, (-0.52, 0.36), (0.52, 0.36), (-0.06, 0.32)
    seat, bar = (-0.24, 0.95), (0.4, 1.0)
    shoulder = (0.14, 1.45)
    angle = metres / 0.9
    feet = [_from(crank, turn - angle, 0.17) for turn in (math.pi, 0)]
    canvas.limb([seat, _knee(seat, feet[0]), feet[0]], 0.12, _darker(_DARK))
    for center in (rear, front):
        _wheel(canvas, center, radius, metres, 0.035)
    canvas.limb([rear, crank, (0.36, 0.85), (-0.2, 0.85), rear], 0.04, frame)
    canvas.limb([crank, seat], 0.04, frame)
    canvas.limb([front, bar], 0.04, frame)
    canvas.limb([seat, shoulder], 0.27, shirt)
    canvas.disc((0.24, 1.68), 0.12, _SKIN)
    canvas.limb([seat, _knee(seat, feet[1]), feet[1]], 0.13, _DARK)
    canvas.limb([shoulder, (0.32, 1.15), bar], 0.09, _SKIN)


def _knee(hip: Point, foot: Point) -> Point:
    """The knee, in front, of a leg whose ends are given."""
    bone = 0.43  # metres, of thigh and shin each
    x, y = foot[0] - hip[0], foot[1] - hip[1]
    reach = min(math.hypot(x, y), 2 * bone - 1e-6)
    return _from(hip, math.atan2(x, -y) + math.acos(reach / (2 * bone)), bone)


def _wheel(canvas: _Canvas, center: Point, radius: float, metres: float, rim: float) -> None:
    canvas.disc(center, radius, _DARK, rim)
    for spoke in range(3):
        turn = spoke * math.pi / 3 - metres / radius
        ends = [_from(center, turn + half, radius) for half in (0, math.pi)]
        canvas.limb(ends, 0.015, (120, 120, 120))


def _car(canvas: _Canvas, metres: float, body: tuple, trim: tuple) -> None:
    canvas.area([(-2.1, 0.3), (-2.1, 0.85), (-1.5, 0.95), (1.0, 0.95), (2.0, 0.75), (2.1, 0.3)], body)
    canvas.area([(-1.6, 0.9), (-1.1, 1.45), (0.3, 1.45), (1.1, 0.9)], body)
    canvas.area([(-1.4, 0.95), (-1.0, 1.36), (-0.45, 1.36), (-0.45, 0.95)], _GLASS)
    canvas.area([(-0.35, 0.95), (-0.35, 1.36), (0.25, 1.36), (0.85, 0.95)], _GLASS)
    canvas.limb([(-2.1, 0.42), (2.1, 0.42)], 0.06, trim)
    canvas.disc((1.95, 0.65), 0.09, (200, 240, 250))
    for center in ((-1.3, 0.33), (1.3, 0.33)):
        canvas.disc(center, 0.32, _DARK)
        canvas.disc(center, 0.19, (170, 170, 170))
        _wheel(canvas, center, 0.18, metres, 0.03)


# --- cut out --------------------------------------------------------------------------------------------------------


def find_cutouts(annotations: Path, images: Path | None = None) -> dict[str, list[tuple[Path, dict]]]:
    """By kind, the pictures and annotations of a COCO file with polygons that show one from the side, whole.

    Args:
        annotations: COCO JSON.
        images: folder of its pictures; None for the folder beside it whose name the file's name ends in.

    Raises:
        UserError: the file cannot be read, is not COCO, shows nothing that can be cut out, or has no pictures.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in content["categories"]}
        pictures = {image["id"]: image for image in content["images"]}
    except FileNotFoundError:
        raise UserError(f"{annotations} does not exist; give a COCO file with polygons") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{annotations} is no COCO file with images, annotations and categories") from error
    folder = images or annotations.with_name(annotations.stem.rpartition("_")[2])
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name the pictures of {annotations} with --images")
    found: dict[str, list[tuple[Path, dict]]] = {kind: [] for kind in KINDS}
    for one in content["annotations"]:
        image, polygons = pictures.get(one["image_id"]), one.get("segmentation")
        if image is None or not isinstance(polygons, list) or len(polygons) != 1 or one.get("iscrowd"):
            continue
        for kind, (name, _, low, high) in _CLASSES.items():
            if names.get(one["category_id"]) == name and _shows_whole(one["bbox"], image, low, high):
                found[kind].append((folder / image["file_name"], one))
    if not any(found.values()):
        raise UserError(f"{annotations}: no polygon shows a whole bicycle, car or person from the side")
    return found


def _shows_whole(box: list[float], image: dict, low: float, high: float) -> bool:
    x, y, width, height = box
    inside = x > 1 and y > 1 and x + width < image["width"] - 2 and y + height < image["height"] - 2
    return inside and height >= _LEAST and low <= height / width <= high


def _cut_out(kind: str, speed: float, path: Path, one: dict) -> Passer:
    x, y, width, height = (round(value) for value in one["bbox"])
    image = read_image(path)
    mask = np.zeros(image.shape[:2], np.uint8)
    corners = np.round(np.reshape(one["segmentation"][0], (-1, 2)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 4)
    part = slice(max(y, 0), y + height + 1), slice(max(x, 0), x + width + 1)
    colors, alpha = image[part].astype(np.float32), mask[part].astype(np.float32) / 255
    tall = _CLASSES[kind][1]
    size = (tall * colors.shape[1] / colors.shape[0], tall)
    return Passer(kind, speed, size, partial(_cut, kind, colors, alpha, tall), drawn=False)


def _cut(kind: str, colors: np.ndarray, alpha: np.ndarray, tall: float, metres: float, scale: float) -> Picture:
    """The cut-out at its size; one that runs leans to and fro with its steps."""
    factor = tall * scale / len(colors)
    size = max(2, round(colors.shape[1] * factor)), max(2, round(tall * scale))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    colors, alpha = cv2.resize(colors, size, interpolation=how), cv2.resize(alpha, size, interpolation=how)
    if kind == "runner":
        lean = 0.08 * math.sin(2 * math.pi * metres / 1.2)
        shear = np.float32([[1, -lean, lean * size[1]], [0, 1, 0]])
        colors = cv2.warpAffine(colors, shear, size, borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(alpha, shear, size)
    return colors, alpha
