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
from toolkit.config import load_config, set_scope
from toolkit.crowd.datasets import CrowdPoints
from toolkit.crowd.results import Crowd, local_maxima, overlay

CONFIG = "crowd/m_segnet_w025_sht_a_small"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    set_scope("mmengine")
    config = load_config(CONFIG)
    network = MODELS.build(config.copy().model)
    with torch.no_grad():
        network.network.head.conv_out.weight.mul_(10).abs_()
        network.network.head.conv_out.bias.fill_(0.05)
    path = tmp_path_factory.mktemp("counter") / "counter.pth"
    save_checkpoint({"state_dict": network.state_dict(), "meta": {"cfg": config.pretty_text}}, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (96, 128)), ("dot.png", (1, 1)), ("wide.png", (16, 12000))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), np.uint8))
    return folder


def count(*args: object) -> int:
    return run("infer", [*map(str, args), "--device", "cpu"])


def test_counts_points_and_overlays_are_written(checkpoint: Path, photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert count("--task", "count", checkpoint, photos, "-o", out) == 0
    images = json.loads((out / "predictions.json").read_text())["images"]
    assert [(one["file_name"], one["width"]) for one in images] == [("a.jpg", 128), ("dot.png", 1), ("wide.png", 12000)]
    for one in images:
        points = np.array(one["points"]).reshape(-1, 2)
        assert len(points) <= max(0, round(one["count"]))
        assert ((points >= 0) & (points <= (one["width"], one["height"]))).all()
    assert cv2.imread(str(out / "a.jpg.png")).shape == (96, 128, 3)
    assert cv2.imread(str(out / "wide.png")).shape == (16, 12000, 3)
    for one in images:
        one["points"] = one["points"][:1]
    (out / "train.json").write_text(json.dumps({"images": images}))
    assert len(CrowdPoints("train.json", dict(img=str(photos)), str(out))) == 3  # results are labels


def test_the_task_is_the_models_own(checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert count(checkpoint, photos / "a.jpg", "-o", tmp_path / "out", "--no-draw") == 0
    assert "people" in capsys.readouterr().out
    for wrong in (["--task", "detect"], ["--task", "count", "--method", "detect"]):
        assert count(*wrong, checkpoint, photos / "a.jpg", "-o", tmp_path / "other") == 2
        assert "this one is to count" in capsys.readouterr().err


def test_tiles_give_the_same_count(checkpoint: Path):
    model = load_model(checkpoint, device="cpu")
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (3, 320, 624), np.uint8))
    whole = model._of_piece(pixels)[0, 0]
    torch.testing.assert_close(model.tiled(pixels, 256), whole, atol=1e-5, rtol=1e-4)


def test_deployed_counts_are_the_same(checkpoint: Path, photos: Path):
    plain, deployed = (load_model(checkpoint, device="cpu", deploy=deploy) for deploy in (False, True))
    picture = str(photos / "a.jpg")
    assert deployed.predict(picture).count == pytest.approx(plain.predict(picture).count, rel=1e-4)


def test_a_detector_counts_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path):
    from toolkit.commands import infer
    from toolkit.detection.results import Detections

    class Detector:
        classes = ("person", "dog")

        def iter_predict(self, sources, batch_size, score_thr, keep_images, on_error):
            for source in sources:
                boxes = np.array([[0, 0, 10, 20], [30, 10, 40, 30], [1, 1, 5, 5]], np.float32)
                found = Detections(
                    boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 1]), self.classes, (96, 128)
                )
                found.path = str(source)
                yield found

    monkeypatch.setattr(infer, "_load", lambda *_: Detector())
    arguments = ["--task", "count", "--method", "detect", "x.pth", photos / "a.jpg", "-o", tmp_path / "out"]
    assert count(*arguments, "--classes", "person") == 0
    (one,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert one["count"] == 2
    assert one["points"] == [[5.0, 10.0], [35.0, 20.0]]


def test_local_maxima_are_the_heads():
    density = np.zeros((40, 40), np.float32)
    for row, column in ((5, 8), (20, 30), (33, 12)):
        density[row, column] = 1.0
    density = cv2.GaussianBlur(density, (0, 0), 1.5)
    assert {tuple(place) for place in local_maxima(density, 3)} == {(8, 5), (30, 20), (12, 33)}
    assert len(local_maxima(density, 2)) == 2
    assert len(local_maxima(np.zeros((8, 8)), 5)) == 0


def test_overlays_tint_only_where_people_are():
    image = np.full((32, 32, 3), 90, np.uint8)
    density = np.zeros((16, 16), np.float32)
    density[4, 4] = 1.0
    drawn = overlay(image, density)
    assert (drawn[20:, 20:] == 90).all()
    assert (drawn[8:10, 8:10] != 90).any()
    assert (Crowd(0.0, np.zeros((0, 2)), (32, 32), np.zeros((16, 16), np.float32)).draw(image)[20:] == 90).all()
