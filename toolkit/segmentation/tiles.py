"""Large pictures in overlapping tiles, whose scores are blended, in memory for a row of overlaps and not for a picture.

Along each axis tile k begins at k (t - o), for tiles of t pixels that overlap by o. Its scores are weighed by

    w(p) = 0 in the outer quarter of an overlap, 1 outside overlaps, and a line between them

so that the weights of all tiles sum to 1 at each pixel, and what a network says nearest to a cut is not used.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 32  # tiles begin at multiples of this, where a network's coarsest map has the cells that it has in the whole


class Box(NamedTuple):
    """Pixels of a picture: `top` and `left` are in it, `bottom` and `right` not."""

    top: int
    left: int
    bottom: int
    right: int


def cuts(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of tiles of at most `tile` pixels that cover `length`, all but the last equally long.

    They start at multiples of `GRID`, as `tile` and `overlap` must be.
    """
    if length <= tile:
        return [(0, length)]
    number = math.ceil((length - overlap) / (tile - overlap))
    stride = math.ceil((length - overlap) / number / GRID) * GRID
    starts = range(0, length - overlap, stride)
    return [(start, min(start + stride + overlap, length)) for start in starts]


def tiles_and_cores(size: tuple[int, int], tile: int, overlap: int) -> list[tuple[Box, Box]]:
    """The tiles of a picture (height, width) by rows, each with its core: the cores are the picture, cut up.

    Cores end in the middle of overlaps, or at the end of the picture, rounded up to a multiple of `GRID`.
    """
    axes = []
    for length in size:
        spans, half = cuts(length, tile, overlap), overlap // 2
        end = math.ceil(length / GRID) * GRID
        starts = [start + half * (start > 0) for start, _ in spans]
        axes.append([(*span, *core) for span, core in zip(spans, pairwise([*starts, end]), strict=True)])
    return [
        (Box(top, left, bottom, right), Box(core_top, core_left, core_bottom, core_right))
        for top, bottom, core_top, core_bottom in axes[0]
        for left, right, core_left, core_right in axes[1]
    ]


def ramp(length: int, overlap: int, first: bool, last: bool) -> Tensor:
    """Weights (length,) of a tile along one axis; `first` and `last` have no neighbour before or after them."""
    rising = ((torch.arange(overlap) + 0.5 - overlap / 4) / (overlap / 2)).clamp(0, 1)
    weights = torch.ones(length)
    if not first:
        weights[:overlap] *= rising
    if not last:
        weights[-overlap:] *= 1 - rising
    return weights


def blend_tiles(
    size: tuple[int, int], score: Callable[[Box], Tensor], decide: Callable[[Tensor], Tensor], tile: int, overlap: int
) -> Tensor:
    """Classes of a large picture.

    Args:
        size: (H, W) of the picture.
        score: scores (C, h, w) of a tile.
        decide: classes (h, w) uint8 of blended scores (C, h, w).
        tile: longest side of a tile, a multiple of 32.
        overlap: of neighbouring tiles, a multiple of 32 and at most half of `tile`.

    Returns:
        (H, W) uint8 on the CPU.
    """
    height, width = size
    result = torch.empty(height, width, dtype=torch.uint8)
    above = beside = None  # weighed scores in the overlap with the row above (C, overlap, W) and the tile to the left
    for top, bottom in cuts(height, tile, overlap):
        below = []
        for left, right in cuts(width, tile, overlap):
            scores = score(Box(top, left, bottom, right))
            down = ramp(bottom - top, overlap, top == 0, bottom == height).to(scores)
            across = ramp(right - left, overlap, left == 0, right == width).to(scores)
            scores = scores * (down[:, None] * across)
            if left > 0:
                scores[..., :overlap] += beside
            if right < width:
                beside, scores = scores[..., -overlap:].clone(), scores[..., :-overlap]
            if top > 0:
                scores[:, :overlap] += above[..., left : left + scores.shape[2]]
            if bottom < height:
                below.append(scores[:, -overlap:].clone())
                scores = scores[:, :-overlap]
            result[top : top + scores.shape[1], left : left + scores.shape[2]] = decide(scores).cpu()
        above = torch.cat(below, 2) if below else None
    return result
