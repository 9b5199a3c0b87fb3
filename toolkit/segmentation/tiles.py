"""Large pictures in overlapping tiles, whose scores are blended, in memory for a row of overlaps and not for a picture.

Along each axis tile k begins at k (t - o), for tiles of t pixels that overlap by o. Its scores are weighed by

    w(p) = 0 in the outer quarter of an overlap, 1 outside overlaps, and a line between them

so that the weights of all tiles sum to 1 at each pixel, and what a network says nearest to a cut is not used.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

GRID = 32  # tiles begin at multiples of this, where a network's coarsest map has the cells that it has in the whole


def spread(length: int, tile: int, overlap: int) -> tuple[int, int]:
    """(number, stride) of tiles of at most `tile` pixels that cover `length`, all but the last equally long.

    The stride is a multiple of `GRID`, as `tile` and `overlap` must be.
    """
    if length <= tile:
        return 1, length
    number = math.ceil((length - overlap) / (tile - overlap))
    stride = math.ceil((length - overlap) / number / GRID) * GRID
    return math.ceil((length - overlap) / stride), stride


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
    picture: Tensor, score: Callable[[Tensor], Tensor], decide: Callable[[Tensor], Tensor], tile: int, overlap: int
) -> Tensor:
    """Classes of a large picture.

    Args:
        picture: (3, H, W).
        score: scores (C, h, w) of a tile (3, h, w).
        decide: classes (h, w) uint8 of blended scores (C, h, w).
        tile: longest side of a tile, a multiple of 32.
        overlap: of neighbouring tiles, a multiple of 32 and at most half of `tile`.

    Returns:
        (H, W) uint8 on the CPU.
    """
    height, width = picture.shape[1:]
    (rows, row_stride), (columns, column_stride) = (spread(length, tile, overlap) for length in (height, width))
    result = torch.empty(height, width, dtype=torch.uint8)
    above = beside = None  # weighed scores in the overlap with the row above (C, overlap, W) and the tile to the left
    for row in range(rows):
        top, below = row * row_stride, []
        for column in range(columns):
            left = column * column_stride
            bottom = height if row == rows - 1 else top + row_stride + overlap
            right = width if column == columns - 1 else left + column_stride + overlap
            scores = score(picture[:, top:bottom, left:right])
            down = ramp(bottom - top, overlap, row == 0, row == rows - 1).to(scores)
            across = ramp(right - left, overlap, column == 0, column == columns - 1).to(scores)
            scores = scores * (down[:, None] * across)
            if column:
                scores[..., :overlap] += beside
            if column < columns - 1:
                beside, scores = scores[..., -overlap:].clone(), scores[..., :-overlap]
            if row:
                scores[:, :overlap] += above[..., left : left + scores.shape[2]]
            if row < rows - 1:
                below.append(scores[:, -overlap:].clone())
                scores = scores[:, :-overlap]
            result[top : top + scores.shape[1], left : left + scores.shape[2]] = decide(scores).cpu()
        above = torch.cat(below, 2) if below else None
    return result
