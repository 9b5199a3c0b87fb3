"""The first step of a pipeline: from a file's path to its pixels."""

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from toolkit.data.images import read_image


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read `img_path` with `read_image`: any picture file, in training and testing the same pixels as in inference.

    Takes the place of mmcv's `LoadImageFromFile`. Sets `img` (H, W, 3) uint8 BGR, `img_shape` and `ori_shape` (H, W).
    """

    def transform(self, results: dict) -> dict:
        """Add the picture to `results`; a `UserError` names a file that cannot be read."""
        image = read_image(results["img_path"])
        results["img"] = image
        results["img_shape"] = image.shape[:2]
        results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
