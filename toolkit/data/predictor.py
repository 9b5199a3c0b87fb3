"""What detectors, segmentors, classifiers and counters share when they are functions of pictures."""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from toolkit.data.pipeline import build_pipeline


class Predictor:
    """A network with weights, its config's test pipeline and its classes.

    Attributes:
        network: the nn.Module.
        config: the whole config.
        classes: class names in the order of the labels; none of a counter.
    """

    def __init__(self, network: nn.Module, config: Config, classes: tuple[str, ...] = ()):
        self.network, self.config, self.classes = network, config, classes
        self._pipeline = build_pipeline(config)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def _prepare(self, image: np.ndarray, index: int = 0) -> dict[str, Any]:
        """What the pipeline makes of a picture (H, W, 3) uint8 BGR, given as its loading steps would leave it."""
        shape = image.shape[:2]
        results = {"img": image, "img_path": "", "img_id": index, "img_shape": shape, "ori_shape": shape}
        return self._pipeline(results | {"seg_fields": []})


def places_by(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """The places of each key. Pictures of one size share a batch: padding would leak into the features of others."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return groups
