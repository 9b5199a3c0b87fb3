"""Training from scratch reaches what the README says (minutes to an hour on two cores: `pytest -m slow`)."""

import json
from pathlib import Path

import pytest

from toolkit.cli import run


def trained_metrics(config: str, data: Path, work_dir: Path) -> dict[str, float]:
    where = ["--data-root", str(data)]
    assert run("train", [config, "--work-dir", str(work_dir), *where]) == 0
    out = work_dir / "metrics.json"
    test = [config, str(work_dir / "best.pth"), "--work-dir", str(work_dir / "test"), "--out", str(out)]
    assert run("test", [*test, *where]) == 0
    return json.loads(out.read_text())


@pytest.mark.slow
def test_synthetic_shapes(tmp_path: Path) -> None:
    shapes = tmp_path / "shapes"
    assert run("make-shapes", [str(shapes), "--train", "500", "--val", "60", "--size", "192"]) == 0
    metrics = trained_metrics("detection/yolo_ms_demo_shapes", shapes, tmp_path / "run")
    assert metrics["coco/bbox_mAP_50"] >= 0.85


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("config", "name", "least"),
    [
        ("detection/yolo_ms_xs_80e_bccd", "bccd", dict(bbox_mAP=0.54, bbox_mAP_50=0.87)),
        ("detection/yolo_ms_xs_60e_raccoon", "raccoon", dict(bbox_mAP_50=0.5)),
        ("detection/yolo_ms_xs_40e_ped_mot15", "ped_mot15", dict(bbox_mAP_50=0.75)),
    ],
)
def test_real_pictures(config: str, name: str, least: dict[str, float], shared: Path, tmp_path: Path) -> None:
    metrics = trained_metrics(config, shared / "data" / name, tmp_path / "run")
    assert all(metrics[f"coco/{key}"] >= value for key, value in least.items()), metrics
