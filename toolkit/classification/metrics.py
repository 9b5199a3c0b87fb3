"""How often the class is right, and which classes are taken for which."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from toolkit.plots import png_figure

MOST_WRITTEN = 30  # classes up to which the cells of a drawn matrix have their numbers


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of pictures whose class is among the `k` highest of `scores` (N, K); of equal ones the first count."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(1).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) numbers of pictures: row the true class, column the predicted one."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_accuracies(matrix: np.ndarray) -> np.ndarray:
    """(K,) share of each class's pictures that are right; NaN for a class without pictures."""
    counts = matrix.sum(1)
    return np.divide(matrix.diagonal(), counts, out=np.full(len(matrix), np.nan), where=counts > 0)


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Shares of pictures, 0 to 1, whose class is the first (`top1`) or among the first k (`top5`) of the prediction.

    `mean_class` is the mean over the classes of the share of each that is right, which a frequent class does not rule.

    Args:
        topk: the k; those of K and more are left out where there are K classes, since they say nothing.
    """

    default_prefix = "cls"

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any):
        super().__init__(**kwargs)
        self.topk = tuple(topk)
        self.confusion: np.ndarray | None = None

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Any]) -> None:
        for label, found in zip(data_batch["label"], data_samples, strict=True):
            self.results.append((int(label), found["scores"].cpu().numpy()))

    def compute_metrics(self, results: list[tuple[int, np.ndarray]]) -> dict[str, float]:
        labels = np.array([label for label, _ in results])
        scores = np.stack([one for _, one in results])
        self.confusion = confusion_matrix(labels, scores.argmax(1), scores.shape[1])
        found = {f"top{k}": topk_accuracy(scores, labels, k) for k in self.topk if k < scores.shape[1]}
        return found | {"mean_class": float(np.nanmean(class_accuracies(self.confusion)))}

    def draw_plots(self, folder: Path) -> None:
        """Write `confusion.png`."""
        draw_confusion(self.confusion, self.dataset_meta["classes"], folder / "confusion.png")


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix as PNG to `path`: of each true class (row) the share of each predicted one (column)."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = float(np.clip(0.45 * len(classes), 4.5, 14))
    with png_figure(path, side + 2, side + 1) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        written = len(classes) <= MOST_WRITTEN
        for row, column in np.argwhere(matrix) if written else ():
            dark = shares[row, column] > 0.6
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        ticks = range(len(classes)) if written else []
        right = [f"{name}  {100 * share:.0f}%" for name, share in zip(classes, class_accuracies(matrix), strict=True)]
        axes.set_xticks(ticks, classes if written else [], rotation=90, fontsize=8)
        axes.set_yticks(ticks, right if written else [], fontsize=8)
        axes.set(xlabel="predicted", ylabel="true, and the share that is right")
        axes.set_title(f"{matrix.diagonal().sum()} of {matrix.sum()} pictures right; cells in % of their row")
        figure.colorbar(image, shrink=0.7)
