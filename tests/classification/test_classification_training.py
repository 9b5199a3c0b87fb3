"""Whole runs of a tiny classifier through the commands."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import HOOKS

from toolkit import load_model
from toolkit.checkpoint import load_checkpoint
from toolkit.cli import run
from toolkit.engine.hooks import StopHook


class StopInTheMiddle(StopHook):
    """A StopHook that behaves as if Ctrl-C came during the fifth iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._asked = runner.iter + 1 == 5
        super().after_train_iter(runner, batch_idx, data_batch, outputs)


@pytest.fixture(scope="module")
def trained(classifier_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("run")
    more = ["train_cfg.max_epochs=10", "train_cfg.val_interval=10"]
    assert run("train", [str(classifier_config), "--work-dir", str(work_dir), "--cfg-options", *more]) == 0
    return work_dir


def test_learns_what_a_glance_tells(trained: Path, classifier_config: Path, tmp_path: Path):
    out = tmp_path / "metrics.json"
    argv = [str(classifier_config), str(trained / "best.pth"), "--out", str(out), "--work-dir", str(tmp_path)]
    assert run("test", argv) == 0
    metrics = json.loads(out.read_text())
    assert metrics["cls/top1"] == metrics["cls/mean_class"] == 1.0
    assert "cls/top5" not in metrics  # of three classes
    for folder in (trained, tmp_path):
        assert (folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_predicts_the_same_alone_and_in_a_batch(trained: Path, brightness: Path):
    model = load_model(trained / "best.pth", device="cpu")
    assert model.classes == ("bright", "dark", "grey")
    files = [str(brightness / name / f"0{number}.png") for name in model.classes for number in (4, 9)]
    together = model.predict(files)
    assert [found.name for found in together] == [Path(file).parent.name for file in files]
    for file, found in zip(files, together, strict=True):
        assert found.path == file
        assert abs(model.predict(file).scores - found.scores).max() < 1e-5
        assert found.top(5) == sorted(zip(model.classes, found.scores.tolist(), strict=True), key=lambda pair: -pair[1])


def test_resumed_within_an_epoch_equals_uninterrupted(classifier_config: Path, tmp_path: Path):
    if "StopInTheMiddle" not in HOOKS.module_dict:
        HOOKS.register_module(module=StopInTheMiddle)
    config = str(classifier_config)
    assert run("train", [config, "--work-dir", str(tmp_path / "whole")]) == 0
    argv = [config, "--work-dir", str(tmp_path / "parts")]
    assert run("train", [*argv, "--cfg-options", "default_hooks.stop={'type':'StopInTheMiddle'}"]) == 130
    assert run("train", [*argv, "--resume"]) == 0
    whole, parts = (load_checkpoint(tmp_path / name / "epoch_3.pth") for name in ("whole", "parts"))
    for key in ("state_dict", "ema_state_dict"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_a_wrong_number_of_classes_is_named(classifier_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    argv = [str(classifier_config), "--work-dir", str(tmp_path), "--cfg-options", "model.head.num_classes=5"]
    assert run("train", argv) == 2
    assert "model.head.num_classes is 5, but the training set has 3: bright, dark, grey" in capsys.readouterr().err
