"""Transforms of classification; all others are mmcv's. Those of training draw from NumPy's generator."""

import math

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Cut out a random piece of a picture and bring it to one size.

    Going Deeper with Convolutions, CVPR 2015, arXiv 1409.4842: area and ratio of the sides are drawn evenly, the ratio
    on a logarithmic scale. Where ten draws do not fit into the picture, its middle of the nearest ratio is taken.

    Args:
        size: side of what comes out, in pixels.
        area: least and greatest share of the picture's area.
        ratio: least and greatest width by height.
    """

    def __init__(self, size: int, area: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)):
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"RandomResizedCrop: area must be two rising shares above 0 and up to 1, got {area}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomResizedCrop: ratio must be two rising numbers above 0, got {ratio}")
        self.size, self.area, self.ratio = size, area, ratio

    def place(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels of a random piece of a picture."""
        for _ in range(10):
            area = height * width * np.random.uniform(*self.area)
            ratio = math.exp(np.random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return np.random.randint(height - h + 1), np.random.randint(width - w + 1), h, w
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        return (height - h) // 2, (width - w) // 2, h, w

    def transform(self, results: dict) -> dict:
        image = results["img"]
        top, left, height, width = self.place(*image.shape[:2])
        shrinks = height * width > self.size**2
        results["img"] = cv2.resize(
            image[top : top + height, left : left + width],
            (self.size, self.size),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        results["img_shape"] = (self.size, self.size)
        return results


@TRANSFORMS.register_module()
class PackClass(BaseTransform):
    """The end of a pipeline: `inputs` (3, H, W) uint8, `img_path`, and `label` where there is one."""

    def transform(self, results: dict) -> dict:
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        packed = {"inputs": torch.from_numpy(image), "img_path": results.get("img_path", "")}
        return packed | ({"label": results["label"]} if "label" in results else {})
