"""Handwritten digits on clutter: small pictures for trying things, made from scikit-learn's without a download.

scikit-learn's 1797 digits of 8x8 pixels (the test part of UCI's Optical Recognition of Handwritten Digits, CC BY 4.0)
are turned, scaled, coloured and put on a quarter of another digit in each corner, with noise. Validation draws from
other handwriting: the last third of the set.
"""

from pathlib import Path

import cv2
import numpy as np

from toolkit.data.made_folder import made_folder
from toolkit.errors import UserError

COUNTS = (2048, 1024)  # to train on, to validate on
CLASSES = tuple("0123456789")
Split = tuple[np.ndarray, np.ndarray]


def make_digits(size: int = 32, counts: tuple[int, int] = COUNTS, seed: int = 0) -> tuple[Split, Split]:
    """Pictures (N, 3, size, size) float32 in [-1, 1] and their classes (N,), to train on and to validate on.

    The same at every call.

    Args:
        size: side of the pictures in pixels.
        counts: numbers of pictures to train on and to validate on.
        seed: of all that is random.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the digits are scikit-learn's: pip install 'toolkit[features]'") from None
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    third = 2 * len(images) // 3
    rng = np.random.default_rng(seed)
    sets = []
    for count, pool in zip(counts, (slice(0, third), slice(third, None)), strict=True):
        chosen = rng.integers(0, len(images[pool]), count)
        made = [draw_digit(images[pool], index, size, rng) for index in chosen]
        sets.append((np.stack(made), labels[pool][chosen]))
    return tuple(sets)


def draw_digit(pool: np.ndarray, index: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """One picture (3, size, size) in [-1, 1] of `pool[index]`."""
    canvas = np.zeros((size, size), np.float32)
    half = size // 2
    for top, left in ((0, 0), (0, half), (half, 0), (half, half)):
        other = cv2.resize(pool[rng.integers(len(pool))], (size, size), interpolation=cv2.INTER_LINEAR)
        cut_y, cut_x = rng.integers(0, half, 2)
        canvas[top : top + half, left : left + half] = 0.3 * other[cut_y : cut_y + half, cut_x : cut_x + half]
    scale = size / 8 * rng.uniform(0.5, 0.85)
    turn = cv2.getRotationMatrix2D((3.5, 3.5), rng.uniform(-15, 15), scale)
    turn[:, 2] += size / 2 - 4 + rng.uniform(-size / 10, size / 10, 2)
    digit = cv2.warpAffine(pool[index], turn, (size, size), flags=cv2.INTER_LINEAR)
    ink, ground, clutter = rng.uniform(0, 1, 3), rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
    if abs(ink.mean() - ground.mean()) < 0.3:
        ink = ink + np.sign(0.5 - ground.mean()) * 0.4
    picture = ground[:, None, None] + canvas * (clutter - ground)[:, None, None]
    picture = picture + digit * (ink[:, None, None] - picture)
    return (2 * picture - 1 + rng.normal(0, 0.08, picture.shape)).clip(-1, 1).astype(np.float32)


def as_image(picture: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) in [-1, 1] as (H, W, 3) uint8."""
    return np.ascontiguousarray(np.round((picture + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0))


def write_digits(out: Path, counts: tuple[int, int], size: int, seed: int, force: bool = False) -> None:
    """Write OUT/train and OUT/val with a folder of PNGs for each digit; OUT appears only when it is complete.

    Raises:
        UserError: `out` exists and is not to be replaced, is something else than such a set, or cannot be written.
    """
    marks = [f"{split}/{name}" for split in ("train", "val") for name in CLASSES]
    with made_folder(out, "a set of digits", marks, force) as partial:
        for split, (pictures, labels) in zip(("train", "val"), make_digits(size, counts, seed), strict=True):
            for name in CLASSES:
                (partial / split / name).mkdir(parents=True)
            for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
                _, data = cv2.imencode(".png", as_image(picture))
                (partial / split / CLASSES[label] / f"{number:05d}.png").write_bytes(data.tobytes())
