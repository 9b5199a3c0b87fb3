"""Pictures and masks in two folders, checked while they are found and read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import DATASETS, TRANSFORMS
from mmseg.datasets import BaseSegDataset
from PIL import Image, UnidentifiedImageError

from toolkit.data.images import pictures_below
from toolkit.errors import UserError

IGNORED = 255  # in a mask: no class


@DATASETS.register_module()
class FolderSegmentation(BaseSegDataset):
    """Each picture below one folder with the mask of the same name below another.

    A mask is a PNG of class numbers, a pixel each: 0 for the first of `metainfo.classes`, 255 for what counts as no
    class. The pipeline reads it with `LoadMask`.

    Args:
        ignored: other numbers in masks that count as no class.
        others: as mmseg's BaseSegDataset; `data_prefix` is `dict(img_path=..., seg_map_path=...)`, the two folders
            below `data_root`, and `metainfo` is `dict(classes=...)` with a `palette` of (red, green, blue) if wanted.

    Raises:
        UserError: a folder is missing or empty, `classes` is missing, or a picture has no mask.
    """

    def __init__(self, ignored: Sequence[int] = (), **others):
        if not (others.get("metainfo") or {}).get("classes"):
            raise UserError("dataset.metainfo.classes: name the classes of the masks, 0 first")
        self.ignored = tuple(ignored)
        super().__init__(**others)

    def load_data_list(self) -> list[dict]:
        """One entry for each picture, by name."""
        pictures, masks = (Path(self.data_prefix[key]) for key in ("img_path", "seg_map_path"))
        if not pictures.is_dir():
            raise UserError(f"dataset.data_prefix.img_path: {pictures} is no folder")
        found = pictures_below(pictures)
        if not found:
            raise UserError(f"{pictures}: no pictures in this folder")
        entries = []
        for path in found:
            mask = masks / path.relative_to(pictures).with_suffix(".png")
            if not mask.is_file():
                raise UserError(f"{mask}: the mask of {path} is missing")
            what = dict(ignored=self.ignored, num_classes=len(self.metainfo["classes"]), reduce_zero_label=False)
            entries.append(dict(img_path=str(path), seg_map_path=str(mask), seg_fields=[], **what))
        return entries


@TRANSFORMS.register_module()
class LoadMask(BaseTransform):
    """Read `seg_map_path` of a `FolderSegmentation` into `gt_seg_map` (H, W) uint8: class numbers, 255 for none."""

    def transform(self, results: dict) -> dict:
        """Add the mask to `results`; a `UserError` names a file that cannot be read or has unknown numbers."""
        path = results["seg_map_path"]
        mask = read_mask(path)
        mask[np.isin(mask, results["ignored"])] = IGNORED
        unknown = np.setdiff1d(mask, [*range(results["num_classes"]), IGNORED])
        if len(unknown):
            raise UserError(
                f"{path}: has the number {unknown[0]}, but the {results['num_classes']} classes are 0 to "
                f"{results['num_classes'] - 1}; give it to dataset.ignored if it is none of them"
            )
        if "img" in results and mask.shape != results["img"].shape[:2]:
            height, width = results["img"].shape[:2]
            raise UserError(f"{path}: is {mask.shape[1]}x{mask.shape[0]} pixels, its picture {width}x{height}")
        results["gt_seg_map"] = mask
        results["seg_fields"].append("gt_seg_map")
        return results


def read_mask(path: str | Path) -> np.ndarray:
    """The numbers of a mask (H, W) uint8; of a picture with a palette its indices.

    Raises:
        UserError: it cannot be read, or has colours.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            mask = np.array(picture)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise UserError(f"{path}: no readable mask ({error})") from None
    if mask.ndim != 2 or (mask.size and not 0 <= mask.min() <= mask.max() <= 255):
        raise UserError(f"{path}: a mask has one number from 0 to 255 for each pixel, this has {picture.mode} colours")
    return mask.astype(np.uint8)
