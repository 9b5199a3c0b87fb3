"""How far counts are from the truth, and a picture of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from toolkit.plots import png_figure


def region_counts(points: np.ndarray, size: tuple[int, int], cells: int) -> np.ndarray:
    """(cells, cells) heads of each part of a picture that is cut evenly.

    Args:
        points: (N, 2) x, y in pixels.
        size: (height, width) in pixels.
        cells: along each side.
    """
    columns, rows = (np.clip(points / size[::-1] * cells, 0, cells - 1)).astype(int).T
    counts = np.zeros((cells, cells))
    np.add.at(counts, (rows, columns), 1)
    return counts


def region_sums(density: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells) sums of a density (H, W); a value on a border goes to the part that holds its centre."""
    rows, columns = (((np.arange(side) + 0.5) / side * cells).astype(int) for side in density.shape)
    sums = np.zeros((cells, cells))
    np.add.at(sums, (rows[:, None], columns[None, :]), density)
    return sums


def counting_errors(true: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Mean absolute error, root mean squared error, and the mean of |error| / max(true count, 1)."""
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    error = np.abs(predicted - true)
    return {
        "MAE": float(error.mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "NAE": float((error / np.maximum(true, 1)).mean()),
    }


@METRICS.register_module()
class CountingErrors(BaseMetric):
    """MAE, RMSE and NAE of counts, and grid average mean errors (GAME).

    GAME(L) cuts a picture into 4^L parts and sums their absolute errors (Extremely Overlapping Vehicle Counting,
    IbPRIA 2015); GAME(0) is MAE. All are means over pictures.

    Args:
        levels: L of the GAMEs.
    """

    default_prefix = "crowd"

    def __init__(self, levels: Sequence[int] = (1, 2, 3), **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = tuple(levels)
        self.pairs: list[tuple[float, float]] = []

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Any]) -> None:
        for picture, points, density in zip(data_batch["inputs"], data_batch["points"], data_samples, strict=True):
            density = density[0].double().cpu().numpy()
            points, size = points.cpu().numpy(), tuple(picture.shape[1:])
            games = [
                np.abs(region_sums(density, 2**level) - region_counts(points, size, 2**level)).sum()
                for level in self.levels
            ]
            self.results.append((len(points), float(density.sum()), games))

    def compute_metrics(self, results: list[tuple[float, float, list[float]]]) -> dict[str, float]:
        self.pairs = [(true, predicted) for true, predicted, _ in results]
        games = np.mean([game for *_, game in results], 0)
        errors = counting_errors(*zip(*self.pairs, strict=True))
        return errors | {f"GAME{level}": float(game) for level, game in zip(self.levels, games, strict=True)}

    def draw_plots(self, folder: Path) -> None:
        """Write `calibration.png`."""
        draw_calibration(self.pairs, folder / "calibration.png")


@METRICS.register_module()
class BoxCountingErrors(CountingErrors):
    """The same of a detector, whose count is the number of its boxes; a box's head is where `CrowdPoints` has it.

    In a detector's configuration: `test_evaluator = dict(type='BoxCountingErrors')`, with a pipeline that loads the
    annotations after the picture is resized, as mmdet's do. Boxes to be ignored count neither as true nor as found.

    Args:
        score_thr: least score of a box that counts.
        levels: L of the GAMEs.
    """

    def __init__(self, score_thr: float = 0.3, levels: Sequence[int] = (1, 2, 3), **kwargs: Any):
        super().__init__(levels, **kwargs)
        self.score_thr = score_thr

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        from toolkit.crowd.formats import HEAD_HEIGHT

        for sample in data_samples:
            found, size = sample["pred_instances"], sample["ori_shape"]
            boxes = (sample["gt_instances"]["bboxes"], found["bboxes"][found["scores"] >= self.score_thr])
            corners = (getattr(some, "tensor", some).float().cpu().numpy().T for some in boxes)
            true, predicted = (np.stack([(x1 + x2) / 2, y1 + HEAD_HEIGHT * (y2 - y1)], 1) for x1, y1, x2, y2 in corners)
            games = []
            for level in self.levels:
                cells = (region_counts(points, size, 2**level) for points in (true, predicted))
                games.append(np.abs(next(cells) - next(cells)).sum())
            self.results.append((len(true), float(len(predicted)), games))


def draw_calibration(pairs: Sequence[tuple[float, float]], path: Path) -> None:
    """Draw true against predicted counts as PNG to `path`, with the line on which both are equal."""
    true, predicted = np.asarray(pairs, float).reshape(-1, 2).T
    errors = counting_errors(true, predicted)
    with png_figure(path, 5.5, 5) as figure:
        axes = figure.add_subplot()
        top = 1.05 * max(true.max(), predicted.max(), 1)
        axes.plot([0, top], [0, top], color="0.6", linewidth=1, label="equal")
        axes.scatter(true, predicted, s=14, alpha=0.7, label=f"{len(pairs)} pictures")
        if np.ptp(true) > 0 and len(pairs) > 2:
            slope, start = np.polyfit(true, predicted, 1)
            axes.plot(
                [0, top], [start, start + slope * top], "--", linewidth=1, label=f"{slope:.2f} x true {start:+.1f}"
            )
        axes.set(xlim=(0, top), ylim=(min(0, predicted.min()), top), xlabel="true count", ylabel="predicted count")
        axes.set_title(f"MAE {errors['MAE']:.2f}, bias {np.mean(predicted - true):+.2f}")
        axes.legend()
