"""Bilinear interpolation with the border rule of RoIAlign.

A point up to one pixel outside the feature map takes the value of the border; farther out it counts as zero.
"""

import torch
from torch import Tensor


def bilinear_corners(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four pixels around each point and their weights.

    Args:
        y, x: coordinates in pixels, pixel centres at integers, any common shape S.
        height, width: size of the feature map.

    Returns:
        Flat pixel indices `row * width + column`, int64 (4, *S), and weights (4, *S).
    """
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    below, right = y - top, x - left
    top, left = top.long(), left.long()
    bottom, far = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    index = torch.stack([top * width + left, top * width + far, bottom * width + left, bottom * width + far])
    weight = torch.stack([(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right])
    return index, weight.masked_fill(outside, 0)
