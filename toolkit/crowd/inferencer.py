"""A counter as a function from pictures to `Crowd`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from toolkit.crowd.results import Crowd, local_maxima
from toolkit.crowd.tiles import tiles_of
from toolkit.data.predictor import Predictor
from toolkit.data.read_ahead import Source, read_ahead
from toolkit.errors import UserError

WHOLE_PIXELS = 2048 * 1536  # larger pictures are cut into tiles
TILE = 768


class Counter(Predictor):
    """A `CrowdCounter` with weights and its config's test pipeline. Made by `toolkit.load_model`."""

    @overload
    def predict(self, source: Source) -> Crowd: ...

    @overload
    def predict(self, source: list[Source]) -> list[Crowd]: ...

    def predict(self, source: Source | list[Source]) -> Crowd | list[Crowd]:
        """Count people in a picture or in each of a list of pictures.

        Args:
            source: a file, an array (H, W, 3) uint8 BGR, or a list of these.

        Raises:
            UserError: a file that is no picture, or a picture too small for the network.
        """
        if isinstance(source, list | tuple):
            return list(self.iter_predict(source))
        return next(self.iter_predict([source]))

    def iter_predict(
        self,
        sources: Iterable[Source],
        keep_images: bool = False,
        on_error: Callable[[Source, UserError], None] | None = None,
    ) -> Iterator[Crowd]:
        """`predict` for any number of pictures, in their order, one after the other.

        Args:
            sources: files or arrays; may be a generator.
            keep_images: put the picture into `Crowd.image`.
            on_error: called with the source and its error for each that cannot be used, which is then left out; None
                to raise the error.
        """
        for pairs in read_ahead(sources, 1, on_error):
            for source, image in pairs:
                name = "the picture" if isinstance(source, np.ndarray) else str(source)
                try:
                    density = self._density(image)
                except ValueError as error:
                    wrong = UserError(f"{name}: {error}")
                    if on_error is None:
                        raise wrong from error
                    on_error(source, wrong)
                    continue
                found = self._as_crowd(density, image.shape[:2])
                found.path = None if isinstance(source, np.ndarray) else name
                found.image = image if keep_images else None
                yield found

    def _as_crowd(self, density: np.ndarray, size: tuple[int, int]) -> Crowd:
        count = max(0.0, float(density.sum(dtype=np.float64)))  # an empty picture may sum to a little below
        cells = local_maxima(density, max(0, round(count)))
        points = (cells + 0.5) * (size[1] / density.shape[1], size[0] / density.shape[0])
        return Crowd(count, points.astype(np.float32), size, density)

    def _density(self, image: np.ndarray) -> np.ndarray:
        """(h, w) float32 people per cell of a picture (H, W, 3) uint8 BGR."""
        pixels = self._prepare(image)["inputs"]
        with torch.inference_mode():
            if pixels.shape[1] * pixels.shape[2] <= WHOLE_PIXELS:
                return self._of_piece(pixels)[0, 0].cpu().numpy()
            return self.tiled(pixels, TILE).numpy()

    def _of_piece(self, pixels: Tensor, tile: Any = None) -> Tensor:
        inputs = self.network.data_preprocessor({"inputs": [pixels]}, False)["inputs"]
        return self.network(inputs) if tile is None else self.network(inputs, tile=tile)

    @torch.inference_mode()
    def tiled(self, pixels: Tensor, core: int) -> Tensor:
        """Density of a picture of any size, computed in tiles: equal to that of the whole picture.

        Args:
            pixels: (3, H, W) uint8.
            core: side of the tiles without their margins, a multiple of 16.

        Returns:
            (H / s, W / s) float32 on the CPU.
        """
        network = self.network.network
        size = tuple(pixels.shape[1:])
        tiles = list(tiles_of(size, core, network.margin))

        def piece(tile: Any) -> Tensor:
            return pixels[:, slice(*tile.rows), slice(*tile.columns)]

        means: tuple[Tensor, ...] = ()
        if hasattr(network, "gather"):
            means = network.gather(
                (self.network.data_preprocessor({"inputs": [piece(tile)]}, False)["inputs"], tile) for tile in tiles
            )
        stride = network.stride
        density = torch.zeros(size[0] // stride, size[1] // stride)
        for tile in tiles:
            part = tile.core(self._of_piece(piece(tile), replace(tile, means=means)), stride)[0, 0].cpu()
            top, left = tile.core_rows[0] // stride, tile.core_columns[0] // stride
            density[top : top + part.shape[0], left : left + part.shape[1]] = part
        return density
