"""A segmentor as a function from pictures to `Segmentation`s."""

from collections.abc import Callable, Iterable, Iterator
from typing import overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.data.pipeline import tested_dataset
from toolkit.data.predictor import Predictor, places_by
from toolkit.data.read_ahead import Source, chunks, read_ahead
from toolkit.errors import UserError
from toolkit.segmentation.results import MOST_CLASSES, Segmentation
from toolkit.segmentation.tiles import GRID, Box, blend_tiles, tiles_and_cores
from toolkit.segmentation.whole_pooling import WholePooling
from toolkit.visualization import class_color

TILE = 2048  # pixels; a picture of Cityscapes is still one piece


class Segmenter(Predictor):
    """Any mmseg segmentor with weights, its config's test pipeline and its classes. Made by `toolkit.load_model`.

    Attributes:
        palette: red, green and blue of each class: the config's or the dataset's own, else colours far apart.
    """

    def __init__(self, network: nn.Module, config: Config, classes: tuple[str, ...]):
        if len(classes) > MOST_CLASSES:
            raise UserError(f"the model has {len(classes)} classes; masks of one byte a pixel hold {MOST_CLASSES}")
        super().__init__(network, config, classes)
        self.palette = palette_of(config, len(classes))

    @overload
    def predict(self, source: Source, batch_size: int = ..., tile: int = ...) -> Segmentation: ...

    @overload
    def predict(self, source: list[Source], batch_size: int = ..., tile: int = ...) -> list[Segmentation]: ...

    def predict(
        self, source: Source | list[Source], batch_size: int = 8, tile: int = TILE
    ) -> Segmentation | list[Segmentation]:
        """Say the class of each pixel of a picture or of each of a list of pictures.

        Args:
            source: a file, an array (H, W, 3) uint8 BGR, or a list of these.
            batch_size: how many pictures of one size the network gets at once.
            tile: longest side, in pixels of what the test pipeline gives, that the network sees as one piece; larger
                pictures are cut into overlapping tiles and blended. The network never gets more than `tile`² pixels
                at once. A multiple of 32, at least 128. Networks of convolutions say in tiles what they say of the
                whole, but for their widest reach; what decode heads pool over the whole picture (PSPNet, UPerNet,
                DeepLabV3+) is gathered first. Those that attend over the whole picture (SegFormer, Mask2Former), or
                pool in the backbone, see a tile as a picture and differ more, the less the larger the tile.

        Raises:
            UserError: a file that is no picture, or a `tile` that cannot be.
        """
        if isinstance(source, list | tuple):
            return list(self.iter_predict(source, batch_size, tile))
        return next(self.iter_predict([source], 1, tile))

    def iter_predict(
        self,
        sources: Iterable[Source],
        batch_size: int = 8,
        tile: int = TILE,
        keep_images: bool = False,
        on_error: Callable[[Source, UserError], None] | None = None,
    ) -> Iterator[Segmentation]:
        """`predict` for any number of pictures, in their order, holding at most two batches of them in memory.

        Args:
            sources: files or arrays; may be a generator.
            batch_size: how many pictures are read, and those of one size given to the network, at once.
            tile: see `predict`.
            keep_images: put the picture into `Segmentation.image`.
            on_error: called with the source and its error for each that is no picture, which is then left out; None
                to raise the error.
        """
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}")
        check_tile(tile)
        for pairs in read_ahead(sources, batch_size, on_error):
            masks = self._segment([image for _, image in pairs], tile)
            for (source, image), mask in zip(pairs, masks, strict=True):
                path = None if isinstance(source, np.ndarray) else str(source)
                yield Segmentation(mask, self.classes, self.palette, path, image if keep_images else None)

    def _segment(self, images: list[np.ndarray], tile: int) -> list[np.ndarray]:
        """Masks (H, W) uint8 of pictures of any sizes."""
        prepared = [self._prepare(image) for image in images]
        sizes = ((*item["inputs"].shape[1:], *image.shape[:2]) for item, image in zip(prepared, images, strict=True))
        masks: dict[int, np.ndarray] = {}
        for (height, width, *_), members in places_by(sizes).items():
            if max(height, width) > tile:
                masks |= {i: self._in_tiles(prepared[i]["inputs"], images[i].shape[:2], tile) for i in members}
                continue
            for part in chunks(members, max(1, tile**2 // (height * width))):
                inputs, samples = ([prepared[i][key] for i in part] for key in ("inputs", "data_samples"))
                samples = self._run(inputs, samples)
                found = (sample.pred_sem_seg.data[0].byte().cpu().numpy() for sample in samples)
                masks |= dict(zip(part, found, strict=True))
        return [masks[index] for index in range(len(images))]

    def _run(self, inputs: list[Tensor], samples: list[SegDataSample]) -> list[SegDataSample]:
        with torch.inference_mode():
            return self.network.test_step({"inputs": inputs, "data_samples": samples})

    def _in_tiles(self, picture: Tensor, size: tuple[int, int], tile: int) -> np.ndarray:
        shape, overlap = tuple(picture.shape[1:]), overlap_of(tile)
        pooling = WholePooling(self.network)

        def see(box: Box) -> Tensor:
            part = picture[:, box.top : box.bottom, box.left : box.right]
            sides = tuple(part.shape[1:])
            sample = SegDataSample(metainfo=dict(ori_shape=sides, img_shape=sides))
            return self._run([part], [sample])[0].seg_logits.data

        def score(box: Box) -> Tensor:
            with pooling.given(box):
                return see(box)

        def decide(scores: Tensor) -> Tensor:
            if len(scores) > 1:
                return scores.argmax(0).byte()
            return (scores[0] > self.network.decode_head.threshold).byte()

        with torch.inference_mode():
            pooling.gather(tiles_and_cores(shape, tile, overlap), see)
            mask = blend_tiles(shape, score, decide, tile, overlap)
        if mask.shape != size:  # the test pipeline resizes
            mask = F.interpolate(mask[None, None], size=size, mode="nearest-exact")[0, 0]
        return mask.numpy()


def check_tile(tile: int) -> None:
    """Raise a `UserError` where `tile` is no side of tiles."""
    if tile < 4 * GRID or tile % GRID:
        raise UserError(f"tile must be a multiple of {GRID} and at least {4 * GRID}, not {tile}")


def overlap_of(tile: int) -> int:
    """How many pixels neighbouring tiles share: a quarter of a tile, at most 256."""
    return min(256, tile // 4 // GRID * GRID)


def palette_of(config: Config, count: int) -> tuple[tuple[int, int, int], ...]:
    """Red, green and blue of each of `count` classes."""
    dataset = tested_dataset(config)
    kind = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
    for meta in (dataset.get("metainfo") or {}, getattr(kind, "METAINFO", {})):
        palette = meta.get("palette") or ()
        if len(palette) == count:
            return tuple(tuple(int(value) for value in color) for color in palette)
    return tuple(class_color(number)[::-1] for number in range(count))
