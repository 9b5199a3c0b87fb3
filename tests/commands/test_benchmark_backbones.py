import csv
import math
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from toolkit.catalogue import entries
from toolkit.cli import run
from toolkit.commands._benchmark_backbones import Row, table
from toolkit.engine.backbone_benchmark import SMALLEST, build, time_together
from toolkit.plots import label_points


def test_a_table_a_csv_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [
        "backbones",
        "AFFNet",
        "--sizes",
        "64",
        "--repeats",
        "1",
        "--deploy",
        "--device",
        "cpu",
        "-o",
        str(tmp_path),
    ]
    assert run("benchmark", command) == 0
    (row,) = csv.DictReader((tmp_path / "backbones.csv").open())
    assert int(row["params"]) == sum(parameter.numel() for parameter in build("AFFNet", 64).parameters())
    assert float(row["ms"]) > 0
    assert float(row["deviation"]) < 1e-4
    assert "| AFFNet | xx_small |" in (tmp_path / "backbones.md").read_text()
    assert (tmp_path / "backbones.png").stat().st_size > 5000
    capsys.readouterr()
    assert run("benchmark", command) == 2
    assert "--force" in capsys.readouterr().err


def test_every_backbone_but_wrappers_of_others_is_measured():
    assert {entry.name for entry in entries("backbones")} - SMALLEST.keys() == {"SFMBackbone"}


def test_multiply_adds_of_a_vgg_equal_the_formula():
    from toolkit.engine.backbone_benchmark import cost

    found = cost("VGG16BN", 64, 1, torch.get_num_threads(), "cpu")
    widths, depths, channels, macs = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3), 3, 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for _ in range(depth):
            macs += 9 * channels * width * (64 // 2**stage) ** 2
            channels = width
    assert found["macs"] == macs


def test_times_are_of_one_picture_and_deployed_forms_are_held_against_the_plain(monkeypatch: pytest.MonkeyPatch):
    from toolkit.engine import backbone_benchmark

    seconds = {("AFFNet", "plain"): [0.4, 0.6, 0.8], ("AFFNet", "deploy"): [0.2, 0.3, 0.8]}
    monkeypatch.setattr(backbone_benchmark, "interleaved", lambda *_, **__: seconds)
    monkeypatch.setattr(backbone_benchmark, "deploy", lambda network: network.apply(scale_norms))
    found = time_together(["AFFNet"], 64, 4, torch.device("cpu"), 3, True, lambda: None)["AFFNet"]
    assert found["ms"] == pytest.approx(150)
    assert (found["deploy_ms"], found["deploy_ratio"]) == pytest.approx((75, 0.5))
    assert found["deviation"] > 1e-4


def scale_norms(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.BatchNorm2d):
        module.weight.mul_(1.1)


def test_the_table_has_the_fastest_first_and_names_what_is_not_equal():
    slow = Row("Slow", "a", 224, 2_000_000, 10**9, None, 20.0, 10.0, 0.5, 3e-4)
    fast = Row("Fast", "b", 224, 1_000_000, 10**9, 12.0, 4.0, 3.0, 0.75, 1e-6)
    lines = table([slow, fast], "").splitlines()
    assert lines[4] == "| Fast | b | 1.00 | 1.00 | 4.0 | 250.0 | 12 | 3.0 (0.75) | yes (1e-06) |"
    assert lines[5] == "| Slow | a | 2.00 | 1.00 | 20.0 | 50.0 | - | 10.0 (0.50) | NO (3e-04) |"


def test_names_beside_crowded_points_do_not_overlap():
    figure = Figure(figsize=(6, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = {f"Backbone{i}": (math.sin(i), math.cos(1.7 * i) / 4) for i in range(20)}
    axes.scatter(*zip(*points.values(), strict=True))
    label_points(axes, points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == list(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 for box in boxes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["HorNett"], "did you mean 'HorNet'"),
        (["--sizes", "100"], "multiples of 32"),
        (["--repeats", "0"], "--repeats must be at least 1"),
    ],
)
def test_wrong_use_is_explained(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("benchmark", ["backbones", *options, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
