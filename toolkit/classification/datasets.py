"""Pictures with one class each: from a folder for each class, or digits made on the spot."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import DATASETS, TRANSFORMS

from toolkit.data.class_folders import find_classes
from toolkit.data.digits import CLASSES, as_image, make_digits
from toolkit.errors import UserError, near, some

PARTS = (None, "train", "val")
SHARE = 5  # one picture of so many is for validation where a folder is not divided


class _Labelled:
    """Samples that go through a pipeline, each a dict with `label`, its class's place in `metainfo["classes"]`."""

    def __init__(self, entries: list[dict], classes: Sequence[str], pipeline: Sequence[dict]):
        self.entries = entries
        self.metainfo: dict[str, Any] = {"classes": tuple(classes)}
        self._pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Any:
        return self._pipeline(dict(self.entries[index]))


@DATASETS.register_module()
class FolderClassification(_Labelled):
    """Pictures in a folder for each class, whose name is the class's.

    Each sample has `img_path` and `label` and goes through the pipeline. Folders within a class's own are searched
    too. A picture that cannot be read is a `UserError` when its turn comes.

    Args:
        folder: holds the folders of the classes, relative to data_root.
        data_root: where it lies.
        part: "train" or "val" of a folder that holds both: every fifth picture of each class, in the order of names,
            is for validation. None for all.
        metainfo: `dict(classes=...)`, folders to use and their order; by name where it is not given.
        pipeline: transforms.

    Raises:
        UserError: there is no such folder, it has fewer than two classes, or a class has no folder or pictures.
    """

    def __init__(
        self,
        folder: str = "",
        data_root: str = "",
        part: str | None = None,
        metainfo: dict | None = None,
        pipeline: Sequence[dict] = (),
    ):
        if part not in PARTS:
            raise UserError(f"dataset.part: must be 'train', 'val' or None, got {part!r}")
        root = Path(os.path.join(data_root, folder))
        found = find_classes(root)
        classes = tuple((metainfo or {}).get("classes") or found)
        missing = [name for name in classes if name not in found]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"dataset.metainfo.classes: {root} has no folder {missing[0]!r}{more}{near(missing[0], found)}; it has "
                f"{some(found, 5)}"
            )
        entries = [
            {"img_path": str(file), "label": label}
            for label, name in enumerate(classes)
            for number, file in enumerate(found[name])
            if part is None or (part == "val") == (number % SHARE == SHARE - 1)
        ]
        if not entries:
            raise UserError(f"{root}: no class has {SHARE} pictures, of which the last would be for validation")
        super().__init__(entries, classes, pipeline)


@DATASETS.register_module()
class DigitClassification(_Labelled):
    """scikit-learn's handwritten digits on clutter, see `toolkit.data.digits`; needs no file.

    Each sample has `img` (size, size, 3) uint8, `img_shape`, `ori_shape` (H, W) and `label`.

    Args:
        part: "train" or "val".
        size: side of the pictures in pixels.
        pipeline: transforms, without one that loads.

    Raises:
        UserError: scikit-learn is not installed.
    """

    def __init__(self, part: str, size: int = 32, pipeline: Sequence[dict] = ()):
        if part not in PARTS[1:]:
            raise UserError(f"dataset.part: must be 'train' or 'val', got {part!r}")
        pictures, labels = make_digits(size)[part == "val"]
        shape = {"img_shape": (size, size), "ori_shape": (size, size)}
        entries = [
            {"img": as_image(picture), "img_path": f"{number:05d}", "label": label, **shape}
            for number, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True))
        ]
        super().__init__(entries, CLASSES, pipeline)
