"""The demonstration of the Python interface, run as a newcomer runs it."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import MODELS

from toolkit.checkpoint import save_checkpoint
from toolkit.config import load_config
from toolkit.ops import load_mmdet

DEMO = Path(__file__).resolve().parents[2] / "demo" / "image_demo.py"


@pytest.fixture(scope="module")
def model(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A configuration and a checkpoint of an untrained network."""
    load_mmdet()
    config = load_config(tiny_config)
    path = tmp_path_factory.mktemp("demo") / "tiny.pth"
    save_checkpoint({"state_dict": MODELS.build(config.copy().model).state_dict(), "meta": {}}, path)
    return [str(tiny_config), str(path)]


def demo(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["image_demo.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(DEMO), run_name="__main__")
    return end.value.code


def test_one_picture_keeps_its_size_and_several_come_on_a_sheet(tmp_path, tiny_set, model, monkeypatch, capsys):
    pictures = sorted((tiny_set / "val").glob("*.png"))
    assert demo(monkeypatch, pictures[0], *model, "-o", tmp_path / "one.png", "--score-thr", "1") == 0
    one = cv2.imread(str(tmp_path / "one.png"))
    assert np.array_equal(one, cv2.imread(str(pictures[0]))), "nothing scores 1, so nothing is drawn"
    assert demo(monkeypatch, tiny_set / "val", pictures[0], *model, "--count", "3", "-o", tmp_path / "s.png") == 0
    said = capsys.readouterr().out
    assert all(str(picture) in said for picture in pictures[:3])
    assert str(pictures[3]) not in said
    sheet = cv2.imread(str(tmp_path / "s.png"))
    assert sheet.shape[0] > 2 * 320
    assert sheet.shape[1] > 2 * 320


def test_what_cannot_be_used_is_one_line(tmp_path, model, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    assert demo(monkeypatch, tmp_path / "empty", *model) == 2
    assert "empty: no pictures" in capsys.readouterr().err
    assert demo(monkeypatch, tmp_path / "gone.jpg", *model) == 2
    assert "gone.jpg" in capsys.readouterr().err
