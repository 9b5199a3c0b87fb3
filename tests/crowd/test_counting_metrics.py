from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from toolkit.crowd.density import density_map
from toolkit.crowd.metrics import (
    BoxCountingErrors,
    CountingErrors,
    counting_errors,
    draw_calibration,
    region_counts,
    region_sums,
)


def test_errors_of_known_counts():
    errors = counting_errors([10, 20, 0], [13, 16, 1])
    assert errors["MAE"] == pytest.approx(8 / 3)
    assert errors["RMSE"] == pytest.approx(np.sqrt(26 / 3))
    assert errors["NAE"] == pytest.approx((0.3 + 0.2 + 1) / 3)


def test_regions_split_heads_and_density_alike():
    points = np.random.default_rng(0).uniform(0, (100, 60), (500, 2))
    counts = region_counts(points, (60, 100), 4)
    assert counts.sum() == 500
    sums = region_sums(density_map(points, 0.2, (60, 100)), 4)
    assert np.abs(sums - counts).max() < 2


def batch(points: list, size: tuple[int, int] = (32, 32)) -> dict:
    return {"inputs": [torch.zeros(3, *size) for _ in points], "points": [torch.tensor(p).float() for p in points]}


def test_game_sees_what_the_count_does_not():
    metric = CountingErrors(levels=(1, 2))
    density = torch.zeros(1, 16, 16)
    density[0, 15, 15] = 2.0  # both heads, but in the other corner
    metric.process(batch([[[1.0, 1.0], [2.0, 2.0]]]), [density])
    result = metric.evaluate(1)
    assert result["crowd/MAE"] == 0
    assert result["crowd/GAME1"] == result["crowd/GAME2"] == 4
    assert metric.pairs == [(2, 2.0)]


def test_a_detector_counts_by_its_boxes():
    boxes = torch.tensor([[0.0, 0, 8, 20], [40, 40, 48, 60]])
    sample = dict(
        gt_instances=dict(bboxes=boxes),
        pred_instances=dict(bboxes=boxes[[0, 0, 1]], scores=torch.tensor([0.9, 0.4, 0.2])),
        ori_shape=(64, 64),
    )
    metric = BoxCountingErrors(score_thr=0.3, levels=(1,))
    metric.process({}, [sample])
    assert metric.evaluate(1) == {"crowd/MAE": 0, "crowd/RMSE": 0, "crowd/NAE": 0, "crowd/GAME1": 2}
    assert metric.pairs == [(2, 2.0)]


def test_the_calibration_plot_is_a_picture(tmp_path: Path):
    draw_calibration([(3, 4.0), (10, 9.0), (40, 42.5)], tmp_path / "calibration.png")
    assert cv2.imread(str(tmp_path / "calibration.png")).shape[0] > 300
