"""Sixteen views of a picture, for features that depend less on how it was taken.

CNN Features off-the-shelf: an Astounding Baseline for Recognition, CVPRW 2014, arXiv 1403.6382.

    the picture, its four corners and its middle of 4/9 of the area, it turned by 30 degrees to both sides; all mirrored
"""

import cv2
import numpy as np

SHARE = 2 / 3  # of each side: 4/9 of the area
ANGLE = 30.0
COUNT = 16


def views(image: np.ndarray) -> list[np.ndarray]:
    """The `COUNT` views of a picture (H, W, 3) uint8; the first is the picture itself."""
    height, width = image.shape[:2]
    h, w = max(1, round(SHARE * height)), max(1, round(SHARE * width))
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w), ((height - h) // 2, (width - w) // 2)]
    upright = [image, *(image[top : top + h, left : left + w] for top, left in corners)]
    upright += [turned(image, ANGLE), turned(image, -ANGLE)]
    return upright + [np.ascontiguousarray(view[:, ::-1]) for view in upright]


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """`image` turned about its middle at its size, what comes in from outside mirrored at the edges."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
