"""Weights of classes for a loss, from how often they occur in masks: rare classes count more.

    median frequency:  w_c = median(f) / f_c,    f_c = pixels of c / pixels of all pictures in which c occurs
    ENet:              w_c = 1 / ln(1.02 + p_c), p_c = pixels of c / all pixels

Median frequency balancing: Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
Convolutional Architecture, ICCV 2015, arXiv 1411.4734, as SegNet (TPAMI 2017, arXiv 1511.00561) uses it. ENet: A Deep
Neural Network Architecture for Real-Time Semantic Segmentation, 2016, arXiv 1606.02147. Pixels of no class count
nowhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass
class Counts:
    """How often classes occur.

    Attributes:
        pixels: (C,) int64, of each class.
        around: (C,) int64, pixels of any class in the pictures in which each class occurs.
    """

    pixels: np.ndarray
    around: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(C,) of all pixels, from 0 to 1."""
        return self.pixels / max(int(self.pixels.sum()), 1)


def count_classes(masks: Iterable[np.ndarray], classes: int) -> Counts:
    """Count the numbers 0 to `classes` - 1 in masks (H, W) uint8; others are no class."""
    counts = Counts(np.zeros(classes, np.int64), np.zeros(classes, np.int64))
    for mask in masks:
        found = np.bincount(np.asarray(mask).ravel(), minlength=classes)[:classes]
        counts.pixels += found
        counts.around += np.where(found > 0, found.sum(), 0)
    return counts


def median_frequency(counts: Counts) -> np.ndarray:
    """(C,) weights, 1 for a class of median frequency. A class that does not occur gets 0 and no part in the median."""
    there = counts.pixels > 0
    frequency = counts.pixels[there] / counts.around[there]
    weights = np.zeros(len(there))
    weights[there] = np.median(frequency) / frequency if there.any() else 0
    return weights


def enet(counts: Counts) -> np.ndarray:
    """(C,) weights from 1 / ln(2.02) = 1.4 for all pixels to 1 / ln(1.02) = 50.5 for none."""
    return 1 / np.log(1.02 + counts.shares)
