"""Boundary IoU: how well the outlines of classes lie, which mIoU hardly notices.

Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021, arXiv 2103.16562.

    boundary IoU = |(G_d & G) & (P_d & P)| / |(G_d & G) | (P_d & P)|      X_d: pixels within d of the outline of X
"""

from collections.abc import Sequence

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


def boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of `mask` (H, W, bool) within `distance` of its outline; the picture's border is outline too."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & (inner == 0)


@METRICS.register_module()
class BoundaryIoU(BaseMetric):
    """Mean over classes of the boundary IoU, from sums over all pictures, as mIoU's.

    Args:
        dilation_ratio: the distance d over the picture's diagonal; the paper's is 0.02. It is 1 pixel at least.
        ignore_index: what counts as no class.
        collect_device: as mmengine's.
        prefix: as mmengine's.
    """

    default_prefix = None

    def __init__(
        self,
        dilation_ratio: float = 0.02,
        ignore_index: int = 255,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ):
        super().__init__(collect_device, prefix)
        self.dilation_ratio = dilation_ratio
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch."""
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze().cpu().numpy()
            truth = sample["gt_sem_seg"]["data"].squeeze().cpu().numpy()
            self.results.append(self.count(predicted, truth, classes))

    def count(self, predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
        """(2, classes): pixels in the intersection and in the union of the boundaries."""
        distance = max(1, round(self.dilation_ratio * float(np.hypot(*truth.shape))))
        known = truth != self.ignore_index
        counts = np.zeros((2, classes), np.int64)
        for label in np.union1d(np.unique(predicted), np.unique(truth)):
            if label == self.ignore_index:
                continue
            ours, theirs = (boundary(part == label, distance) & known for part in (predicted, truth))
            counts[:, label] = (ours & theirs).sum(), (ours | theirs).sum()
        return counts

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """`mBoundaryIoU` in percent, over the classes that occur."""
        intersection, union = np.sum(results, 0)
        return {"mBoundaryIoU": round(100 * float(np.mean(intersection[union > 0] / union[union > 0])), 2)}
