import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from toolkit import load_model
from toolkit.checkpoint import save_checkpoint
from toolkit.cli import run
from toolkit.config import load_config
from toolkit.ops import load_mmdet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    load_mmdet()
    torch.manual_seed(0)
    config = load_config("classification/resnet18_digits")
    network = MODELS.build(config.copy().model)
    torch.nn.init.normal_(network.head.fc.weight)
    meta = {"cfg": config.pretty_text, "dataset_meta": {"classes": [f"class{i}" for i in range(10)]}}
    path = tmp_path_factory.mktemp("classifier") / "classifier.pth"
    save_checkpoint({"state_dict": network.state_dict(), "meta": meta}, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (96, 128)), ("sub/b.png", (40, 40)), ("dot.png", (1, 1))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), np.uint8))
    return folder


def infer(*args: object) -> int:
    return run("infer", [*map(str, args), "--device", "cpu"])


def test_the_five_most_likely_classes_are_written(checkpoint: Path, photos: Path, tmp_path: Path):
    assert infer("--task", "classify", checkpoint, photos, "-o", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    model = load_model(checkpoint, device="cpu")
    assert content["classes"] == list(model.classes)
    found = {image["file_name"]: image for image in content["images"]}
    assert set(found) == {"a.jpg", "sub/b.png", "dot.png"}
    assert (found["a.jpg"]["height"], found["a.jpg"]["width"]) == (96, 128)
    for name, image in found.items():
        top = model.predict(str(photos / name)).top(5)
        assert [one["class"] for one in image["top"]] == [name for name, _ in top]
        assert [one["score"] for one in image["top"]] == pytest.approx([score for _, score in top], abs=1e-4)
        drawn = cv2.imread(str(tmp_path / "out" / name))
        assert drawn.shape[:2] == (image["height"], image["width"])
    assert (cv2.imread(str(tmp_path / "out" / "sub/b.png")) != cv2.imread(str(photos / "sub/b.png"))).any()


def test_a_broken_picture_is_named_and_the_others_done(checkpoint, photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"no picture")
    assert infer(checkpoint, photos, "-o", tmp_path / "out", "--no-draw", "--batch-size", 1) == 1
    assert "broken.jpg is not a picture" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--classes", "class1"], "--classes is for detectors"), (["--task", "detect"], "this one is to classify")],
)
def test_what_a_classifier_cannot_do_is_named(more, message, checkpoint, photos, tmp_path, capsys):
    assert infer(checkpoint, photos, "-o", tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
