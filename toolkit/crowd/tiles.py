"""Pieces of a large picture whose densities, put together, are those of the whole picture.

A tile is a core and a margin as wide as the network looks. Two things in a network see more than that: means over the
whole map, which are gathered from all tiles first, and resizing with corners on corners, where the step between two
samples depends on the size of the whole map. Both take a `Tile`, so that tiling changes nothing but the order of sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """Where a piece lies, in pixels of the whole picture; starts are multiples of 16.

    Attributes:
        rows, columns: what the piece covers, first and behind the last.
        core_rows, core_columns: the part of it that counts.
        size: (height, width) of the whole picture.
        means: what the network gathered from the whole picture.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    core_rows: tuple[int, int]
    core_columns: tuple[int, int]
    size: tuple[int, int]
    means: tuple[Tensor, ...] = field(default=(), compare=False)

    def core(self, x: Tensor, stride: int) -> Tensor:
        """The core of a map (B, C, h, w) of this piece."""
        top, bottom = ((edge - self.rows[0]) // stride for edge in self.core_rows)
        left, right = ((edge - self.columns[0]) // stride for edge in self.core_columns)
        return x[..., top:bottom, left:right]


def tiles_of(size: tuple[int, int], core: int, margin: int) -> Iterator[Tile]:
    """Tiles that cover a picture of `size` (height, width).

    Args:
        core: side of a core in pixels, a multiple of 16.
        margin: what a tile has beyond its core on each side, a multiple of 16.
    """
    spans = [[(start, min(start + core, side)) for start in range(0, side, core)] for side in size]
    for rows in spans[0]:
        for columns in spans[1]:
            wide = [
                (max(0, first - margin), min(side, last + margin))
                for (first, last), side in zip((rows, columns), size, strict=True)
            ]
            yield Tile(*wide, rows, columns, size)


def sample_axis(x: Tensor, dim: int, places: Tensor) -> Tensor:
    """`x` at `places` along `dim`, linear between neighbours and constant beyond the ends."""
    places = places.clamp(0, x.shape[dim] - 1)
    before = places.floor().long()
    after = (before + 1).clamp(max=x.shape[dim] - 1)
    shape = [1] * x.dim()
    shape[dim] = -1
    share = (places - before).to(x.dtype).view(shape)
    return x.index_select(dim, before) * (1 - share) + x.index_select(dim, after) * share


def resize_like(x: Tensor, other: Tensor, tile: Tile | None = None) -> Tensor:
    """`x` brought to the height and width of `other`, bilinear, corners on corners.

    Args:
        x: (B, C, h, w), coarser than `other` or of its size.
        other: (B, C', H, W).
        tile: where both lie; None where they are of the whole picture.
    """
    if x.shape[2:] == other.shape[2:]:
        return x
    if tile is None:
        return F.interpolate(x, other.shape[2:], mode="bilinear", align_corners=True)
    for dim, span, side in ((2, tile.rows, tile.size[0]), (3, tile.columns, tile.size[1])):
        coarse, fine = (span[1] - span[0]) // x.shape[dim], (span[1] - span[0]) // other.shape[dim]
        step = (side // coarse - 1) / max(side // fine - 1, 1)
        places = (torch.arange(other.shape[dim], device=x.device, dtype=torch.float64) + span[0] // fine) * step
        x = sample_axis(x, dim, places - span[0] // coarse)
    return x


def enlarge_whole(x: Tensor, like: Tensor, stride: int, tile: Tile) -> Tensor:
    """The part of a map of the whole picture that lies on a tile, bilinear, edges on edges (align_corners=False).

    Args:
        x: (B, C, h, w) over the whole picture.
        like: map (B, C', H, W) of the tile.
        stride: of `like`.
        tile: its place.
    """
    for dim, span, side in ((2, tile.rows, tile.size[0]), (3, tile.columns, tile.size[1])):
        cells = torch.arange(like.shape[dim], device=x.device, dtype=torch.float64) + span[0] // stride
        x = sample_axis(x, dim, (cells + 0.5) * x.shape[dim] / (side // stride) - 0.5)
    return x


def pooled_part(x: Tensor, stride: int, tile: Tile, bins: int) -> Tensor:
    """What the core of a tile adds to `F.adaptive_avg_pool2d(whole map, bins)`: (B, C, h, w) -> (B, C, bins, bins)."""
    shares = []
    for span, side in ((tile.core_rows, tile.size[0]), (tile.core_columns, tile.size[1])):
        cells = side // stride
        share = x.new_zeros(bins, cells)
        for i in range(bins):
            first, last = i * cells // bins, -(-(i + 1) * cells // bins)
            share[i, first:last] = 1 / (last - first)
        shares.append(share[:, span[0] // stride : span[1] // stride])
    return shares[0] @ tile.core(x, stride) @ shares[1].T
