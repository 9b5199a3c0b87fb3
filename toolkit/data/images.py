"""Read a picture from a file, whatever kind it is, into the one form that every model here takes.

Training, testing and inference all read through `read_image`, so a picture means the same pixels everywhere:

- rotated as its EXIF orientation says;
- grey, black-and-white and palette pictures become three channels;
- transparent pictures are laid on white, as viewers show them (the colour behind a transparent pixel is arbitrary);
- of 16 bits the high 8 are kept, so that 0..65535 becomes 0..255;
- CMYK (Adobe's inverted convention in JPEG) and YCbCr become RGB; colour profiles are not applied;
- of an animation or a stack of pages the first picture is taken.

An ordinary 8-bit JPEG or PNG is decoded by OpenCV, anything else by Pillow. A file that was cut off is an error:
OpenCV alone would fill the missing part with grey.
"""

import io
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from toolkit.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings, in lower case, by which a folder's pictures are found."""

_ORIENTATION_TAG = 274
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


def pictures_below(folder: Path) -> list[Path]:
    """The picture files in a folder and its folders, by name; links to nowhere too, which reading tells of."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and not path.is_dir())


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read the picture at `path`.

    Returns:
        (H, W, 3) uint8, channels blue, green, red, in 0..255, writable.

    Raises:
        UserError: the file is missing, is no picture, is cut off, or has pixels without a defined range.
    """
    return decode_image(_read_bytes(path), path)


def picture_for(given: np.ndarray | None, kept: np.ndarray | None, path: str | None) -> np.ndarray:
    """What a result is drawn on: the picture given, else the one that was kept, else the file, read again.

    Raises:
        UserError: there is none of them, or the file cannot be read.
    """
    image = kept if given is None else given
    if image is None and path is None:
        raise UserError("draw: give the picture, which was passed as an array and not kept")
    return read_image(path) if image is None else image


def decode_image(data: bytes, name: str | os.PathLike) -> np.ndarray:
    """`read_image` for the bytes of a file; `name` is what errors call it."""
    if _is_plain(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return image
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return np.ascontiguousarray(_to_rgb(ImageOps.exif_transpose(picture))[..., ::-1])
    except UnidentifiedImageError:
        raise UserError(f"{os.fspath(name)} is not a picture; readable are {_readable()}") from None
    except Image.DecompressionBombError:
        raise UserError(f"{os.fspath(name)} has too many pixels; cut it into tiles") from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError) as error:
        raise UserError(f"{os.fspath(name)} is a damaged or unsupported picture: {error}") from None


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) in pixels of the picture as `read_image` gives it, from the file's head alone."""
    try:
        with Image.open(path) as picture:
            # Pillow's size of a TIFF is turned already in some releases: take the tags' width and length
            width, height = (picture.tag_v2[256], picture.tag_v2[257]) if picture.format == "TIFF" else picture.size
            # not picture.getexif(), which for PNG decodes the whole picture
            turned = Image.Image.getexif(picture).get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise UserError(f"no picture {os.fspath(path)}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"{os.fspath(path)} is not a picture; readable are {_readable()}") from None
    return (height, width) if turned else (width, height)


def _read_bytes(path: str | os.PathLike) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"no picture {os.fspath(path)}") from None
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
    if not data:
        raise UserError(f"{os.fspath(path)} is an empty file")
    return data


def _is_plain(data: bytes) -> bool:
    """Whether this is a whole JPEG, or a whole 8-bit grey or RGB PNG without transparency and orientation."""
    if data.startswith(b"\xff\xd8\xff"):
        return data.endswith(b"\xff\xd9")
    if not data.startswith(_PNG_SIGNATURE) or b"IEND" not in data[-12:]:
        return False
    bit_depth, color_type = data[24], data[25]
    head = data[: max(data.find(b"IDAT"), 0)]
    return bit_depth == 8 and color_type in (0, 2) and b"tRNS" not in head and b"eXIf" not in head


def _to_rgb(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded picture of any mode."""
    if picture.mode.startswith("I"):
        return _from_integers(np.asarray(picture))
    if picture.mode == "F":
        raise ValueError("32-bit float pixels have no defined range; save it with 8 or 16 bits")
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def _from_integers(pixels: np.ndarray) -> np.ndarray:
    """(H, W) integers of 16 bits, in whatever type, to (H, W, 3) uint8."""
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("32-bit pixels have no defined range; save it with 8 or 16 bits")
    grey = (pixels.astype(np.int32) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _readable() -> str:
    return "JPEG, PNG, BMP, TIFF and WebP"


def save_image(image: np.ndarray, path: Path) -> None:
    """Write `image` (H, W, 3) uint8 BGR as the kind of file that the name's ending says.

    Raises:
        UserError: the ending is not that of a kind of picture.
        OSError: the disk is full or the folder cannot be written.
    """
    if not cv2.haveImageWriter(path.name):
        raise UserError(f"{path}: pictures are written as {_readable()}, by the name's ending")
    _, data = cv2.imencode(path.suffix, image)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(data.tobytes())
    except OSError:
        path.unlink(missing_ok=True)
        raise
