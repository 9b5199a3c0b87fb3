"""Transforms of a picture with its head points; those of training draw from NumPy's generator.

A sample has `img` (H, W, 3) uint8 BGR and, where it is annotated, `points` (N, 2) x, y in pixels, `spacing` (N,) in
pixels, and `extent`, the left, top, right and bottom of the whole picture where `img` is a crop of it.
"""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from toolkit.crowd.density import adaptive_sigmas, box_shares, density_map


def resize(results: dict, width: int, height: int) -> dict:
    """Bring picture, points, spacings and extent of `results` to another size."""
    image = results["img"]
    ratio = np.array([width / image.shape[1], height / image.shape[0]])
    if (height, width) != image.shape[:2]:
        shrinks = ratio.max() < 0.75
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        results["img"] = cv2.resize(image, (width, height), interpolation=kind)
    if "points" in results:
        results["points"] = results["points"] * ratio
        results["spacing"] = results["spacing"] * ratio.mean()
    if "extent" in results:
        results["extent"] = results["extent"] * np.tile(ratio, 2)
    return results


@TRANSFORMS.register_module()
class ResizeCrowd(BaseTransform):
    """Scale a picture by a constant and round its sides to the nearest multiple, half to even, as published.

    Args:
        scale: of both sides.
        multiple: of which each side becomes one, at least once.
    """

    def __init__(self, scale: float = 1.0, multiple: int = 1):
        self.scale, self.multiple = scale, multiple

    def transform(self, results: dict) -> dict:
        height, width = (
            max(1, round(side * self.scale / self.multiple)) * self.multiple for side in results["img"].shape[:2]
        )
        return resize(results, width, height)


@TRANSFORMS.register_module()
class ScaleCrowd(BaseTransform):
    """Scale by a random factor, and further up where a crop would not fit.

    Args:
        ratio_range: of the factor.
        min_side: least length of the shorter side in pixels.
    """

    def __init__(self, ratio_range: tuple[float, float] = (0.8, 1.2), min_side: int = 1):
        self.ratio_range, self.min_side = ratio_range, min_side

    def transform(self, results: dict) -> dict:
        height, width = results["img"].shape[:2]
        scale = max(np.random.uniform(*self.ratio_range), self.min_side / min(height, width))
        return resize(results, max(round(width * scale), self.min_side), max(round(height * scale), self.min_side))


@TRANSFORMS.register_module()
class CropCrowd(BaseTransform):
    """Cut out a random piece. Heads outside stay among the points: their Gaussians may reach in.

    Args:
        size: (height, width) of the piece in pixels.

    Raises:
        ValueError: the picture is smaller.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def transform(self, results: dict) -> dict:
        image = results["img"]
        height, width = self.size
        if image.shape[0] < height or image.shape[1] < width:
            raise ValueError(f"CropCrowd: size {tuple(self.size)} does not fit a picture of {image.shape[:2]}")
        top = np.random.randint(image.shape[0] - height + 1)
        left = np.random.randint(image.shape[1] - width + 1)
        extent = results.get("extent", np.array([0.0, 0.0, image.shape[1], image.shape[0]]))
        results["img"] = image[top : top + height, left : left + width]
        results["points"] = results["points"] - (left, top)
        results["extent"] = extent - (left, top, left, top)
        return results


@TRANSFORMS.register_module()
class FlipCrowd(BaseTransform):
    """Mirror left and right.

    Args:
        prob: how often.
    """

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        width = results["img"].shape[1]
        results["img"] = results["img"][:, ::-1]
        results["points"] = results["points"] * (-1, 1) + (width, 0)
        if "extent" in results:
            left, top, right, bottom = results["extent"]
            results["extent"] = np.array([width - right, top, width - left, bottom])
        return results


@TRANSFORMS.register_module()
class GammaCrowd(BaseTransform):
    """Raise brightness, 0 to 1, to a random power.

    Args:
        gamma_range: of the power.
        prob: how often.
    """

    def __init__(self, gamma_range: tuple[float, float] = (0.5, 1.5), prob: float = 0.3):
        self.gamma_range, self.prob = gamma_range, prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            levels = np.linspace(0, 1, 256) ** np.random.uniform(*self.gamma_range)
            results["img"] = np.round(255 * levels).astype(np.uint8)[results["img"]]
        return results


@TRANSFORMS.register_module()
class GreyCrowd(BaseTransform):
    """Take the colours away.

    Args:
        prob: how often.
    """

    def __init__(self, prob: float = 0.1):
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            grey = cv2.cvtColor(np.ascontiguousarray(results["img"]), cv2.COLOR_BGR2GRAY)
            results["img"] = np.repeat(grey[..., None], 3, axis=2)
        return results


@TRANSFORMS.register_module()
class PackCrowd(BaseTransform):
    """The end of a pipeline: picture and targets as tensors.

    Gives `inputs` (3, H, W) uint8, and for an annotated picture `density` (1, H / stride, W / stride), `count`,
    `points` (N, 2) of the heads inside, `shares` (N,) of their boxes and `shorter_side` of the whole picture, the
    last two for the Bayesian loss. Boxes are squares as wide as the mean distance to the three nearest heads, within
    4 and 128 pixels.

    Args:
        sigma: deviation of a head's Gaussian in pixels of the picture that is packed; "adaptive" for 0.3 times the
            mean distance to the three nearest heads, within 1 and 15 pixels.
        stride: pixels along the side of a cell of the density.
        min_share: heads with less of their box inside are left out of `points`; they stay in the density.
    """

    def __init__(self, sigma: float | str = 5.0, stride: int = 2, min_share: float = 0.0):
        if isinstance(sigma, str) and sigma != "adaptive":
            raise ValueError(f"PackCrowd: sigma must be a number or 'adaptive', got {sigma!r}")
        self.sigma, self.stride, self.min_share = sigma, stride, min_share

    def transform(self, results: dict) -> dict:
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        packed = {"inputs": torch.from_numpy(image), "img_path": results.get("img_path", "")}
        if "points" not in results:
            return packed
        points, spacing, size = results["points"], results["spacing"], results["img"].shape[:2]
        extent = results.get("extent", (0.0, 0.0, float(size[1]), float(size[0])))
        sigmas = adaptive_sigmas(spacing) if self.sigma == "adaptive" else self.sigma
        density = density_map(points, sigmas, size, self.stride, extent)
        shares = box_shares(points, np.clip(spacing, 4, 128), size)
        inside = ((points >= 0) & (points < size[::-1])).all(1) & (shares >= self.min_share)
        return {
            **packed,
            "density": torch.from_numpy(density)[None],
            "count": int(inside.sum()),
            "points": torch.from_numpy(points[inside]).float(),
            "shares": torch.from_numpy(shares[inside]).float(),
            "shorter_side": float(min(extent[2] - extent[0], extent[3] - extent[1])),
        }
