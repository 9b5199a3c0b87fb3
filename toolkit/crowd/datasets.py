"""Pictures with a point on every head, from one JSON file for each split.

    {"images": [{"file_name": "a.jpg", "width": 640, "height": 480, "points": [[x, y], ...]}, ...]}

x and y are in pixels, from the upper left corner of the picture. `toolkit.crowd.formats` makes such files of the known
sets.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, TRANSFORMS

from toolkit.crowd.density import spacings
from toolkit.data.formats import load_json
from toolkit.errors import UserError, some


def read_points(path: str) -> list[dict[str, Any]]:
    """The entries of a file of points, each with `file_name` and `points` as an array (N, 2) float64.

    Raises:
        UserError: no such file, no such layout, or a point that is not two finite numbers.
    """
    if not os.path.isfile(path):
        raise UserError(
            f"{path}: the file of points does not exist; data/README.md tells where sets come from and how they must "
            "lie, and --data-root DIR names another place"
        )
    content = load_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise UserError(f"{path}: not a file of points: it has no list 'images'; see data/README.md")
    entries = []
    for number, image in enumerate(images):
        if not isinstance(image, dict) or "file_name" not in image or "points" not in image:
            raise UserError(f"{path}: images[{number}] needs file_name and points")
        try:
            points = np.asarray(image["points"], np.float64).reshape(-1, 2)
        except (ValueError, TypeError):
            points = np.array([[np.nan, np.nan]])
        if not np.isfinite(points).all():
            raise UserError(f"{path}: images[{number}].points must be a list of [x, y] in pixels")
        entries.append({**image, "points": points})
    return entries


@DATASETS.register_module()
class CrowdPoints:
    """Pictures with head points.

    Each sample has `img_path`, `points` (N, 2) in pixels and `spacing` (N,), the mean distance to the three nearest
    heads, and goes through the pipeline. Points outside their picture are left out where the file tells its size.

    Args:
        ann_file: file of points, relative to data_root.
        data_prefix: dict(img=folder of the pictures), relative to data_root.
        data_root: where both lie.
        pipeline: transforms.

    Raises:
        UserError: the file cannot be used, or pictures are missing.
    """

    def __init__(
        self,
        ann_file: str,
        data_prefix: dict[str, str],
        data_root: str = "",
        pipeline: Sequence[dict] = (),
    ):
        self.ann_file = os.path.join(data_root, ann_file)
        folder = os.path.join(data_root, data_prefix["img"])
        self.entries = [self._entry(image, folder) for image in read_points(self.ann_file)]
        missing = [entry["img_path"] for entry in self.entries if not os.path.isfile(entry["img_path"])]
        if missing:
            raise UserError(
                f"{self.ann_file}: {len(missing)} of its {len(self.entries)} pictures are missing: {some(missing)}"
            )
        self.metainfo: dict[str, Any] = {}
        self._pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])

    @staticmethod
    def _entry(image: dict[str, Any], folder: str) -> dict[str, Any]:
        points = image["points"]
        if "width" in image and "height" in image:
            limits = (image["width"], image["height"])
            points = points[((points >= 0) & (points < limits)).all(1)]
        path = os.path.join(folder, image["file_name"])
        return {"img_path": path, "points": points, "spacing": spacings(points)}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Any:
        entry = self.entries[index]
        return self._pipeline({**entry, "points": entry["points"].copy(), "spacing": entry["spacing"].copy()})
