"""Results drawn on pictures: boxes, masks and labels, sized to the picture, readable on any background."""

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageFont

MASK_OPACITY = 0.45
SHEET_GAP = 6  # pixels between the pictures of a sheet


@lru_cache(maxsize=1024)
def class_color(label: int) -> tuple[int, int, int]:
    """Blue, green and red, in 0..255, of class `label`; neighbours in number are far apart in hue.

    Hues advance by the golden ratio, so that any number of classes stays spread over the circle; lightness alternates.
    """
    hue = (0.02 + label * 0.618034) % 1.0
    lightness = (0.5, 0.42, 0.6)[label % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.9)
    return round(blue * 255), round(green * 255), round(red * 255)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which has Latin, Greek and Cyrillic, from matplotlib, which mmengine needs; else Pillow's own."""
    spec = find_spec("matplotlib")
    for folder in spec.submodule_search_locations or () if spec else ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def _text_mask(text: str, size: int) -> np.ndarray:
    """`text` as opacities, (height, width) float32 in 0..1, with a margin all round; equal heights for one `size`."""
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    top, bottom = font.getbbox("Ågjy|")[1::2]
    margin = max(2, size // 5)
    mask, (x, y) = font.getmask2(text, mode="L", anchor="la")
    pixels = np.asarray(mask, np.uint8).reshape(mask.size[::-1])
    canvas = np.zeros((round(bottom - top) + 2 * margin, round(right - left) + 2 * margin), np.uint8)
    row, column = max(0, margin + round(y - top)), max(0, margin + round(x - left))
    part = pixels[: canvas.shape[0] - row, : canvas.shape[1] - column]
    canvas[row : row + part.shape[0], column : column + part.shape[1]] = part
    return canvas.astype(np.float32) / 255


def _draw_label(image: np.ndarray, text: str, box: Sequence[int], color: tuple[int, int, int], size: int) -> None:
    """Write `text` on a plate above `box`, or inside it at the top of the picture, never outside the picture."""
    mask = _text_mask(text, size)[: image.shape[0], : image.shape[1]]
    height, width = mask.shape
    left = min(max(box[0], 0), image.shape[1] - width)
    top = box[1] - height
    top = min(max(top if top >= 0 else box[1], 0), image.shape[0] - height)
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = np.zeros(3, np.float32) if luminance > 140 else np.full(3, 255, np.float32)
    opacity = mask[..., None]
    plate = opacity * ink + (1 - opacity) * np.asarray(color, np.float32)
    image[top : top + height, left : left + width] = plate.astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    texts: Sequence[str],
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes, the first on top.

    Args:
        image: (H, W, 3) uint8 BGR; left as it is.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        labels: (N,) class numbers, for the colours.
        texts: N labels, empty for none.
        masks: (N, H, W) bool, tinted under the boxes.

    Returns:
        The picture with drawings, (H, W, 3) uint8 BGR.
    """
    drawn = np.ascontiguousarray(image).copy()
    side = min(drawn.shape[:2])
    thickness = max(1, round(side / 320))
    size = int(np.clip(side / 40, 10, 36))
    order = range(len(boxes) - 1, -1, -1)
    colors = [class_color(int(label)) for label in labels]
    for index in order if masks is not None else ():
        inside = masks[index].astype(bool)
        tint = np.asarray(colors[index], np.float32)
        drawn[inside] = ((1 - MASK_OPACITY) * drawn[inside] + MASK_OPACITY * tint).astype(np.uint8)
    corners = np.round(boxes).astype(int)
    for index in order:
        x1, y1, x2, y2 = (int(value) for value in corners[index])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colors[index], thickness, cv2.LINE_AA)
    for index in order:
        if texts[index]:
            _draw_label(drawn, texts[index], corners[index], colors[index], size)
    return drawn


def draw_regions(
    image: np.ndarray,
    mask: np.ndarray,
    colors: Sequence[tuple[int, int, int]],
    names: Sequence[str],
    opacity: float = 0.5,
) -> np.ndarray:
    """Tint every pixel in the colour of its class, outline the regions, and write the names of large ones on them.

    Args:
        image: (H, W, 3) uint8 BGR; left as it is.
        mask: (H, W) uint8, places in `colors` and `names`.
        colors: blue, green and red of each class.
        names: of the classes; each is written once, on its largest region, where that has room.
        opacity: of the tint, 0 to 1.

    Returns:
        The picture with drawings, (H, W, 3) uint8 BGR.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    drawn = cv2.addWeighted(np.ascontiguousarray(image), 1 - opacity, table[mask], opacity, 0)
    edge = np.zeros(mask.shape, bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    drawn[edge] = table[mask[edge]]
    size = int(np.clip(min(mask.shape) / 40, 10, 36))
    for label in np.unique(mask):
        place = _widest_place((mask == label).astype(np.uint8), size)
        if place is not None:
            height, width = _text_mask(names[label], size).shape
            corner = (place[0] - width // 2, place[1] + height // 2)
            _draw_label(drawn, names[label], corner, colors[label], size)
    return drawn


def _widest_place(region: np.ndarray, least: int) -> tuple[int, int] | None:
    """(x, y) of the pixel farthest from the region's outline; None where none is `least` / 2 pixels off."""
    distance = cv2.distanceTransform(cv2.copyMakeBorder(region, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    _, farthest, _, (x, y) = cv2.minMaxLoc(distance)
    return (x - 1, y - 1) if farthest >= least / 2 else None


def draw_text(image: np.ndarray, text: str) -> None:
    """Write `text` on a dark plate into the upper left corner of `image` (H, W, 3) uint8 BGR, sized to the picture."""
    _draw_label(image, text, (0, 0), (40, 40, 40), int(np.clip(min(image.shape[:2]) / 20, 10, 60)))


def contact_sheet(pictures: Sequence[np.ndarray], columns: int | None = None, cell: int = 320) -> np.ndarray:
    """Lay pictures out in rows on a dark ground.

    Args:
        pictures: (H, W, 3) uint8 BGR each, of any sizes; each is scaled so that its longer side has `cell` pixels.
        columns: pictures in a row; None for a sheet that is about as wide as high.
        cell: longer side of a picture in the sheet, in pixels.

    Returns:
        The sheet, (H, W, 3) uint8 BGR.
    """
    if not pictures:
        raise ValueError("contact_sheet: needs at least one picture")
    scaled = [_fit(picture, cell) for picture in pictures]
    height, width = max(len(picture) for picture in scaled), max(picture.shape[1] for picture in scaled)
    columns = min(columns or math.ceil(math.sqrt(len(scaled) * height / width)), len(scaled))
    rows = math.ceil(len(scaled) / columns)
    sheet = np.full(
        (rows * (height + SHEET_GAP) + SHEET_GAP, columns * (width + SHEET_GAP) + SHEET_GAP, 3), 32, np.uint8
    )
    for index, picture in enumerate(scaled):
        top = SHEET_GAP + index // columns * (height + SHEET_GAP) + (height - len(picture)) // 2
        left = SHEET_GAP + index % columns * (width + SHEET_GAP) + (width - picture.shape[1]) // 2
        sheet[top : top + len(picture), left : left + picture.shape[1]] = picture
    return sheet


def _fit(picture: np.ndarray, cell: int) -> np.ndarray:
    """`picture` with a longer side of `cell` pixels."""
    scale = cell / max(picture.shape[:2])
    if scale == 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
