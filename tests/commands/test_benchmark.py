import csv
from pathlib import Path

import cv2
import pytest
import torch

from toolkit.cli import run
from toolkit.commands.benchmark import Row, short_name, table
from toolkit.inference import load_model

# a detector so small that all its forms run in a second
TINY = """
custom_imports = dict(imports=["toolkit"])
default_scope = "mmdet"
model = dict(
    type="RTMDet",
    data_preprocessor=dict(type="DetDataPreprocessor"),
    backbone=dict(type="YOLOMSBackbone", deepen_factor=1 / 3, widen_factor=0.1),
    neck=dict(type="YOLOMSPAFPN", deepen_factor=1 / 3, widen_factor=0.1),
    bbox_head=dict(type="YOLOMSHead", num_classes=2, widen_factor=0.1),
    test_cfg=dict(nms_pre=100, score_thr=0.01, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(64, 64)),
    dict(type="PackDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "scale_factor")),
]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_10e_none.py"
    path.write_text(TINY)
    return path


def benchmark(*args: object) -> int:
    return run("benchmark", ["detection", *map(str, args)])


def test_a_table_a_csv_and_a_plot(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    options = ["-o", out, "--size", 64, "--repeats", 1, "--skip-compile", "--device", "cpu"]
    assert benchmark(tiny, *options) == 0
    (row,) = csv.DictReader((out / "detection.csv").open())
    network = load_model(tiny, device="cpu").network
    assert int(row["params"]) == sum(parameter.numel() for parameter in network.parameters())
    assert int(row["macs"]) == macs_by_hooks(network, 64)
    assert row["equal"] == "True"
    assert float(row["deviation"]) < 1e-4
    assert float(row["deploy_ratio"]) == pytest.approx(float(row["deploy_ms"]) / float(row["eager_ms"]), rel=1e-4)
    assert row["compiled_ms"] == ""
    text = (out / "detection.md").read_text()
    assert "| tiny |" in text
    assert "without decoding and NMS" in text
    assert text in capsys.readouterr().out
    assert cv2.imread(str(out / "detection.png")).std() > 0

    before = (out / "detection.csv").read_bytes()
    assert benchmark(tiny, *options) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "detection.csv").read_bytes() == before


def macs_by_hooks(network: torch.nn.Module, size: int) -> int:
    """Multiply-adds of the convolutions, from the sizes of what they give."""
    total = 0

    def add(conv: torch.nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * conv.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size), mode="tensor")
    return total


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--size", 100], "multiple of 32"),
        (["--repeats", 0], "--repeats"),
        (["--device", "cuda:99"], "cuda:99"),
        (["yolo_ms_sx_300e_coco"], "yolo_ms"),
    ],
)
def test_wrong_options_are_one_line(options: list, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert benchmark(*options, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_short_names():
    assert short_name("yolo_ms_xs_300e_coco") == "yolo_ms_xs"
    assert short_name("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py") == "rtmdet_tiny"
    assert short_name("my/retinanet_r50_fpn_1x_coco.py") == "retinanet_r50_fpn"


def test_a_deviating_model_stands_out():
    row = Row("a", "a", 1, 1, 2.0, 2.0, 1.0, 1.0, 0.5, None, None, 0.3, False, None, None)
    assert "NO (3e-01)" in table([row], "caption")
    assert "compiled" not in table([row], "caption").splitlines()[0]
