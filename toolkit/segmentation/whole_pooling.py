"""Pooling over the whole picture (PSPNet's and UPerNet's pyramid, DeepLab's image pooling) when it is seen in tiles.

Adaptive pooling to k x k cells and bilinear resizing back are products with matrices,

    pooled = P x Q'        what goes on = A conv(pooled) B'

so that the pooled values of the whole are a sum over tiles, each with its own columns of P and Q, and each tile is
given its own rows of A and B. That takes one more pass over the picture, up to these layers, and no memory for maps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.segmentation.tiles import GRID, Box


class WholePooling:
    """The pooling layers of a decode head: gathers what they pool from tiles, and has them give it in each tile.

    Args:
        network: a segmentor. `PPM`s and `image_pool`s (an adaptive pooling to one cell, then convolutions) of its
            decode head count, unless it slides windows of its own over each tile.
    """

    def __init__(self, network: nn.Module):
        head = network.decode_head
        if network.test_cfg.get("mode") == "slide":  # it pools within its windows, also in the whole
            self.pools = []
            return
        pyramids = [_Pool(layer) for layer in head.modules() if isinstance(layer, PPM)]
        layer = getattr(head, "image_pool", None)
        is_pool = isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.AdaptiveAvgPool2d)
        self.pools = pyramids + ([_Pool(layer)] if is_pool else [])

    def gather(self, tiles: Sequence[tuple[Box, Box]], see: Callable[[Box], Any]) -> None:
        """Pool over the whole picture.

        Args:
            tiles: what the network sees of the picture, and the part of it that no other tile has; by rows.
            see: runs the network on a tile.
        """
        if not self.pools:
            return
        self._run(tiles[0], see, _Pool.measure_stride)  # a multiple of every stride on the side that is cut
        self.pools = [pool for pool in self.pools if GRID % pool.stride == 0]  # else cells lie across tiles
        if not self.pools:
            return
        self._run(tiles[-1], see, _Pool.measure_size)
        for tile in tiles:
            self._run(tile, see, _Pool.add)

    def _run(self, tile: tuple[Box, Box], see: Callable[[Box], Any], note: Callable) -> None:
        """Call `note` with every pool, its input and the tile, and stop the network where it knows enough."""
        missing = {pool.layer for pool in self.pools}

        def hook(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            note(next(pool for pool in self.pools if pool.layer is layer), inputs[0], *tile)
            missing.discard(layer)
            if not missing:
                raise _EnoughError

        handles = [pool.layer.register_forward_pre_hook(hook) for pool in self.pools]
        try:
            with suppress(_EnoughError):
                see(tile[0])
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def given(self, box: Box) -> Iterator[None]:
        """Inside, the layers give what they would give in this part of the whole picture."""
        handles = [
            pool.layer.register_forward_hook(lambda _, inputs, __, pool=pool: pool.crop(inputs[0], box))
            for pool in self.pools
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _EnoughError(Exception):
    """All layers have been reached."""


class _Pool:
    def __init__(self, layer: nn.Module):
        self.layer = layer
        self.scales: Sequence[int] = getattr(layer, "pool_scales", (1,))
        self.stride, self.size = 0, (0, 0)  # pixels of the picture for one cell; cells of the whole
        self.matrices: list[tuple[Tensor, Tensor]] = []  # of pooling, for each scale
        self.sums: list[Tensor] = []

    def measure_stride(self, x: Tensor, box: Box, core: Box) -> None:
        self.stride = max(1, (box.bottom - box.top) // x.shape[2], (box.right - box.left) // x.shape[3])

    def measure_size(self, x: Tensor, box: Box, core: Box) -> None:
        top, left = self._place(box)
        self.size = (top + x.shape[2], left + x.shape[3])
        self.matrices = [tuple(pooling_matrix(side, bins).to(x.device) for side in self.size) for bins in self.scales]
        self.sums = [x.new_zeros(x.shape[1], bins, bins, dtype=torch.float32) for bins in self.scales]

    def add(self, x: Tensor, box: Box, core: Box) -> None:
        """Add a tile's map (1, C, h, w)."""
        top, left = self._place(box)
        rows, columns = (
            slice(start // self.stride, min(stop // self.stride, side))
            for start, stop, side in zip((core.top, core.left), (core.bottom, core.right), self.size, strict=True)
        )
        part = x[0, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left].float()
        for total, (down, across) in zip(self.sums, self.matrices, strict=True):
            total += down[:, rows] @ part @ across[:, columns].T

    def crop(self, x: Tensor, box: Box) -> list[Tensor] | Tensor:
        """What the layer gives for a tile's map (1, C, h, w)."""
        if not hasattr(self.layer, "pool_scales"):
            return self.layer[1:](self.sums[0][None].to(x))
        found = []
        for branch, pooled in zip(self.layer, self.sums, strict=True):
            y = branch[1:](pooled[None].to(x))
            sides = zip(self._place(box), x.shape[2:], self.size, strict=True)
            down, across = (
                resizing_matrix(y.shape[2], side, self.layer.align_corners)[start : start + length].to(y)
                for start, length, side in sides
            )
            found.append(down @ y @ across.T)
        return found

    def _place(self, box: Box) -> tuple[int, int]:
        """Row and column of the whole map at which that of a tile begins."""
        return box.top // self.stride, box.left // self.stride


def pooling_matrix(length: int, bins: int) -> Tensor:
    """(bins, length) of adaptive average pooling along one axis."""
    return F.adaptive_avg_pool1d(torch.eye(length), bins).T


def resizing_matrix(bins: int, length: int, align_corners: bool) -> Tensor:
    """(length, bins) of linear interpolation along one axis."""
    return F.interpolate(torch.eye(bins)[None], size=length, mode="linear", align_corners=align_corners)[0].T
