from pathlib import Path

import pytest

from toolkit.cli import run

SCRATCH = ["model.backbone.init_cfg=None", "model.head.num_classes=3", "train_dataloader.batch_size=4"]
SMALL = ["train_dataloader.num_workers=0", "val_dataloader.num_workers=0", "val_dataloader.batch_size=2"]


def check(name: str, *more: str) -> int:
    return run("train", [f"classification/{name}", "--check", *more])


@pytest.mark.parametrize("name", ["resnet18_digits", "convnext_atto_digits"])
def test_digits_need_no_data(name: str, capsys: pytest.CaptureFixture):
    pytest.importorskip("sklearn")
    assert check(name, "--cfg-options", "train_dataloader.batch_size=8", *SMALL) == 0
    out = capsys.readouterr().out
    assert "2,048 training samples" in out
    assert "nothing read" not in out


def test_one_folder_is_divided(brightness: Path, capsys: pytest.CaptureFixture):
    argv = ["--data-root", str(brightness), "--cfg-options", *SCRATCH, *SMALL]
    assert check("resnet18_30e_one_folder", *argv) == 0
    assert "24 training samples" in capsys.readouterr().out


def test_train_and_val_are_folders(brightness: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    argv = ["--data-root", str(tmp_path), "--cfg-options", *SCRATCH, *SMALL]
    assert check("resnet18_30e_folders", *argv) == 2
    assert f"{tmp_path}/train: no such folder" in capsys.readouterr().err
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(brightness)
    assert check("resnet18_30e_folders", *argv) == 0
    assert "30 training samples" in capsys.readouterr().out
