"""A detector as a function from pictures to `Detections`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import numpy as np
import torch

from toolkit.data.predictor import Predictor, places_by
from toolkit.data.read_ahead import Source, read_ahead
from toolkit.detection.results import Detections
from toolkit.errors import UserError


class Detector(Predictor):
    """Any mmdet detector with weights, its config's test pipeline, and its class list. Made by `toolkit.load_model`."""

    @overload
    def predict(self, source: Source, batch_size: int = ..., score_thr: float = ...) -> Detections: ...

    @overload
    def predict(self, source: list[Source], batch_size: int = ..., score_thr: float = ...) -> list[Detections]: ...

    def predict(
        self, source: Source | list[Source], batch_size: int = 8, score_thr: float = 0.0
    ) -> Detections | list[Detections]:
        """Find objects in a picture or in each of a list of pictures.

        Args:
            source: a file, an array (H, W, 3) uint8 BGR, or a list of these.
            batch_size: how many pictures the network gets at once.
            score_thr: leave out objects that score less; the config's `model.test_cfg.score_thr` holds besides.

        Raises:
            UserError: a file that is no picture.
        """
        if isinstance(source, list | tuple):
            return list(self.iter_predict(source, batch_size, score_thr))
        return next(self.iter_predict([source], 1, score_thr))

    def iter_predict(
        self,
        sources: Iterable[Source],
        batch_size: int = 8,
        score_thr: float = 0.0,
        keep_images: bool = False,
        on_error: Callable[[Source, UserError], None] | None = None,
    ) -> Iterator[Detections]:
        """`predict` for any number of pictures, in their order, holding at most two batches of them in memory.

        Args:
            sources: files or arrays; may be a generator.
            batch_size: how many pictures the network gets at once.
            score_thr: leave out objects that score less.
            keep_images: put the picture into `Detections.image`.
            on_error: called with the source and its error for each that is no picture, which is then left out; None
                to raise the error.
        """
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}")
        for pairs in read_ahead(sources, batch_size, on_error):
            for (source, image), found in zip(pairs, self._detect([image for _, image in pairs]), strict=True):
                found.path = None if isinstance(source, np.ndarray) else str(source)
                found.image = image if keep_images else None
                yield found.filter(score_thr) if score_thr > 0 else found

    def _detect(self, images: list[np.ndarray]) -> list[Detections]:
        """Detections in pictures (H, W, 3) uint8 BGR of any sizes."""
        prepared = [self._prepare(image, index) for index, image in enumerate(images)]
        found: dict[int, Detections] = {}
        for members in places_by(item["inputs"].shape for item in prepared).values():
            batch = {
                "inputs": [prepared[index]["inputs"] for index in members],
                "data_samples": [prepared[index]["data_samples"] for index in members],
            }
            with torch.inference_mode():
                samples = self.network.test_step(batch)
            for index, sample in zip(members, samples, strict=True):
                found[index] = self._as_detections(sample.pred_instances, images[index].shape[:2])
        return [found[index] for index in range(len(images))]

    def _as_detections(self, instances: Any, size: tuple[int, int]) -> Detections:
        boxes = instances.bboxes
        boxes = getattr(boxes, "tensor", boxes).float().cpu().numpy().astype(np.float32)
        scores = instances.scores.float().cpu().numpy().astype(np.float32)
        labels = instances.labels.cpu().numpy().astype(np.int64)
        masks = instances.get("masks")
        if masks is not None:
            masks = np.asarray(masks.cpu() if isinstance(masks, torch.Tensor) else masks).astype(bool)
        limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
        found = Detections(boxes.clip(0, limit), scores, labels, self.classes, size, masks)
        return found[np.argsort(-scores, kind="stable")]
