"""What `fit` and `score` reach on real footage; each takes about half an hour on two cores."""

import csv
from pathlib import Path

import pytest

from toolkit.cli import run

VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")  # of Debian's package opencv-doc


def table_of(argv: list[str], out: Path) -> dict[str, dict[str, str]]:
    assert run("score-video", ["evaluate", *argv, "-o", str(out), "--cache", str(out.parent / "cache")]) == 0
    return {row["variant"]: row for row in csv.DictReader(out.open())}


@pytest.mark.slow
@pytest.mark.shared
def test_odd_clips_of_avenue_score_higher(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "avenue_mini"
    assert run("score-video", ["fit", str(root), "-o", str(tmp_path / "state.pth")]) == 0
    rows = table_of([str(root), "--model", str(tmp_path / "state.pth")], tmp_path / "table.csv")
    for variant in ("raw + flow", "raw + flow, perturbed"):
        assert float(rows[variant]["micro_auc_per_clip"]) >= 0.764 + 0.05


@pytest.mark.slow
@pytest.mark.skipif(not VTEST.exists(), reason="needs vtest.avi of Debian's package opencv-doc")
def test_passers_in_vtest_are_found(tmp_path: Path) -> None:
    normal, odd = tmp_path / "normal.mp4", tmp_path / "odd.mp4"
    assert run("make-anomaly-video", [str(VTEST), str(normal), "--end", "45", "--events", "0"]) == 0
    assert run("make-anomaly-video", [str(VTEST), str(odd), "--start", "45"]) == 0
    assert run("score-video", ["fit", str(normal), "-o", str(tmp_path / "state.pth")]) == 0
    rows = table_of([str(odd), "--model", str(tmp_path / "state.pth")], tmp_path / "table.csv")
    assert float(rows["raw + flow, perturbed"]["micro_auc"]) >= 0.9
