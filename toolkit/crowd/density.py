"""Maps of density from points: each head a Gaussian of which the mass inside the picture is one.

The mass of a cell is the integral of the Gaussian over it, exact for any size of cells, divided by the integral over
the whole picture: a map's sum is the number of heads, and cells of a crop keep what they have in the whole map. A
Gaussian with one deviation factorises, so that a map is a product of two matrices:

    map[i, j] = sum over heads n of rows[n, i] * columns[n, j]

which is cheaper than reading a stored map from a file. What is dear, the distances between heads, is computed once for
each picture and kept with its points.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

REACH = 6.0  # deviations after which a head has no influence


def spacings(points: np.ndarray, neighbours: int = 3) -> np.ndarray:
    """(N,) mean distance of each head to its nearest others, in pixels; infinite for a head that is alone.

    Args:
        points: (N, 2) x, y in pixels.
        neighbours: how many of the nearest, fewer where there are fewer.
    """
    if len(points) < 2:
        return np.full(len(points), np.inf)
    from scipy.spatial import cKDTree

    count = min(neighbours, len(points) - 1)
    distances, _ = cKDTree(points).query(points, k=count + 1)
    return distances[:, 1:].mean(1)


def adaptive_sigmas(spacing: np.ndarray, beta: float = 0.3, limits: tuple[float, float] = (1.0, 15.0)) -> np.ndarray:
    """Geometry-adaptive deviations (Single-Image Crowd Counting via Multi-Column CNN, CVPR 2016): (N,) in pixels."""
    return np.clip(beta * spacing, *limits)


def _masses(centres: np.ndarray, sigmas: np.ndarray, cells: int, stride: float, low: float, high: float) -> np.ndarray:
    """(N, cells) share of each head in each cell along one axis, of its mass between `low` and `high`."""
    edges = np.clip(np.arange(cells + 1) * stride, low, high)
    cumulated = ndtr((edges - centres[:, None]) / sigmas[:, None])
    inside = ndtr((high - centres) / sigmas) - ndtr((low - centres) / sigmas)
    return np.diff(cumulated, axis=1) / inside[:, None]


def density_map(
    points: np.ndarray,
    sigmas: np.ndarray | float,
    size: tuple[int, int],
    stride: int = 1,
    extent: Sequence[float] | None = None,
) -> np.ndarray:
    """People per cell.

    Args:
        points: (N, 2) x, y in pixels; a pixel with index i lies between i and i + 1.
        sigmas: deviation of each head in pixels, or one for all.
        size: (height, width) in pixels of what the map covers.
        stride: pixels along a cell's side; the map has size // stride cells.
        extent: left, top, right, bottom of the whole picture, where the map covers a crop of it; heads outside the
            crop reach in.

    Returns:
        (height // stride, width // stride) float32; of a whole picture with sides that divide by the stride, the sum
        is N.
    """
    height, width = size
    left, top, right, bottom = (0.0, 0.0, float(width), float(height)) if extent is None else extent
    points = np.asarray(points, np.float64).reshape(-1, 2)
    sigmas = np.broadcast_to(np.asarray(sigmas, np.float64), len(points))
    near = (np.abs(points - (width / 2, height / 2)) - (width / 2, height / 2) <= REACH * sigmas[:, None]).all(1)
    points, sigmas = points[near], sigmas[near]
    rows = _masses(points[:, 1], sigmas, height // stride, stride, top, bottom)
    columns = _masses(points[:, 0], sigmas, width // stride, stride, left, right)
    return (rows.astype(np.float32).T @ columns.astype(np.float32)).astype(np.float32)


def box_shares(points: np.ndarray, sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N,) share of each head's square box that lies inside a picture of (height, width) pixels.

    Args:
        points: (N, 2) centres x, y.
        sides: (N,) of the boxes.
    """
    half = sides[:, None] / 2
    limits = np.array(size[::-1], np.float64)
    inside = np.clip(points + half, 0, limits) - np.clip(points - half, 0, limits)
    return (inside / sides[:, None]).prod(1)
