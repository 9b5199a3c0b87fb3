"""Pictures in batches, the next batch being read while the caller works on this one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from toolkit.data.images import read_image
from toolkit.errors import UserError

Source = str | Path | np.ndarray
T = TypeVar("T")


def as_image(source: Source) -> np.ndarray:
    """(H, W, 3) uint8 BGR of a file or an array.

    Raises:
        UserError: the file is no picture, or the array is not (H, W, 3) or (H, W) uint8.
    """
    if not isinstance(source, np.ndarray):
        return read_image(source)
    if source.dtype != np.uint8 or source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] != 3):
        raise UserError(f"a picture must be (H, W, 3) BGR or (H, W) uint8, not {source.shape} {source.dtype}")
    if source.size == 0:
        raise UserError(f"a picture must have pixels, not the shape {source.shape}")
    return np.repeat(source[..., None], 3, axis=2) if source.ndim == 2 else source


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last perhaps shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def read_ahead(
    sources: Iterable[Source], batch_size: int, on_error: Callable[[Source, UserError], None] | None
) -> Iterator[list[tuple[Source, np.ndarray]]]:
    """Batches of sources with their pictures, the next one being read while the caller works on this one.

    At most two batches are in memory. A source that is no picture goes to `on_error` and is left out; without
    `on_error` its `UserError` is raised.
    """

    def read(source: Source) -> np.ndarray | UserError:
        try:
            return as_image(source)
        except UserError as error:
            return error

    def collect(waiting: list) -> list[tuple[Source, np.ndarray]]:
        pairs = []
        for source, future in waiting:
            image = future.result()
            if not isinstance(image, UserError):
                pairs.append((source, image))
            elif on_error is None:
                raise image
            else:
                on_error(source, image)
        return pairs

    with ThreadPoolExecutor(min(batch_size, 4)) as pool:
        before: list | None = None
        for chunk in chunks(sources, batch_size):
            waiting = [(source, pool.submit(read, source)) for source in chunk]
            if before is not None:
                yield collect(before)
            before = waiting
        if before is not None:
            yield collect(before)
