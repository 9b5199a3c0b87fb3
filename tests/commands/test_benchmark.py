"""The benchmark command on a small detector."""

import csv
from pathlib import Path

import pytest

from toolkit.cli import run
from toolkit.commands.benchmark import short_name


def test_rows_have_the_published_parameters_and_equal_outputs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = [
        "detection",
        "yolov8_ms_n_500e_coco",
        "-o",
        str(tmp_path),
        "--size",
        "64",
        "--repeats",
        "1",
        "--skip-compile",
    ]
    assert run("benchmark", argv) == 0
    assert "yolov8_ms_n" in capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "detection.csv").open())
    assert int(row["params"]) == 2_862_704
    assert int(row["macs"]) * 100 == pytest.approx(4.34e9, rel=0.01)  # at 640 x 640, of convolutions
    assert row["equal"] == "True"
    assert float(row["eager_ms"]) > 0
    assert (tmp_path / "detection.png").read_bytes()[:4] == b"\x89PNG"
    before = (tmp_path / "detection.csv").read_bytes()
    assert run("benchmark", argv) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "detection.csv").read_bytes() == before


@pytest.mark.parametrize("option", [["--size", "100"], ["--repeats", "0"], ["--threads", "0"]])
def test_impossible_options_are_named(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("benchmark", ["detection", "-o", str(tmp_path), *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_short_names() -> None:
    assert short_name("configs/detection/yolo_ms_xs_300e_coco.py") == "yolo_ms_xs"
    assert short_name("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py") == "rtmdet_tiny"
