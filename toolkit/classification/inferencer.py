"""A classifier as a function from pictures to `Classification`s, or to features."""

from collections.abc import Callable, Iterable, Iterator
from typing import overload

import numpy as np
import torch
from torch import Tensor

from toolkit.classification.results import Classification
from toolkit.data.predictor import Predictor, places_by
from toolkit.data.read_ahead import Source, read_ahead
from toolkit.errors import UserError


class Classifier(Predictor):
    """An `ImageClassifier` with weights, its config's test pipeline and its classes. Made by `toolkit.load_model`."""

    @overload
    def predict(self, source: Source, batch_size: int = ...) -> Classification: ...

    @overload
    def predict(self, source: list[Source], batch_size: int = ...) -> list[Classification]: ...

    def predict(self, source: Source | list[Source], batch_size: int = 8) -> Classification | list[Classification]:
        """Say the class of a picture or of each of a list of pictures.

        Args:
            source: a file, an array (H, W, 3) uint8 BGR, or a list of these.
            batch_size: how many pictures the network gets at once.

        Raises:
            UserError: a file that is no picture, or a network without a head.
        """
        if isinstance(source, list | tuple):
            return list(self.iter_predict(source, batch_size))
        return next(self.iter_predict([source], 1))

    def iter_predict(
        self,
        sources: Iterable[Source],
        batch_size: int = 8,
        keep_images: bool = False,
        on_error: Callable[[Source, UserError], None] | None = None,
    ) -> Iterator[Classification]:
        """`predict` for any number of pictures, in their order, holding at most two batches of them in memory.

        Args:
            sources: files or arrays; may be a generator.
            batch_size: how many pictures the network gets at once.
            keep_images: put the picture into `Classification.image`.
            on_error: called with the source and its error for each that is no picture, which is then left out; None
                to raise the error.
        """
        if self.network.head is None:
            raise UserError("model.head: this network has none, it gives features, not classes")
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}")
        for pairs in read_ahead(sources, batch_size, on_error):
            if not pairs:  # none of a batch could be read
                continue
            logits = self._run([image for _, image in pairs], self.network)
            scores = logits.float().softmax(1).cpu().numpy()
            for (source, image), one in zip(pairs, scores, strict=True):
                path = None if isinstance(source, np.ndarray) else str(source)
                yield Classification(one, self.classes, image.shape[:2], path, image if keep_images else None)

    def features(self, images: list[np.ndarray]) -> np.ndarray:
        """(N, C) float32 of pictures (H, W, 3) uint8 BGR: what the head gets, the mean over the last map."""
        return self._run(images, self.network.extract).float().cpu().numpy()

    @torch.inference_mode()
    def _run(self, images: list[np.ndarray], network: Callable[[Tensor], Tensor]) -> Tensor:
        """What `network` gives for pictures of any sizes, (N, ...)."""
        prepared = [self._prepare(image)["inputs"] for image in images]
        outputs: dict[int, Tensor] = {}
        for members in places_by(pixels.shape for pixels in prepared).values():
            batch = {"inputs": [prepared[index] for index in members]}
            inputs = self.network.data_preprocessor(batch, False)["inputs"]
            outputs |= dict(zip(members, network(inputs), strict=True))
        return torch.stack([outputs[index] for index in range(len(images))])
