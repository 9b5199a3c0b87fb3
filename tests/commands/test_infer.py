import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from toolkit.checkpoint import save_checkpoint
from toolkit.cli import run
from toolkit.config import load_config
from toolkit.ops import load_mmdet


@pytest.fixture(scope="session")
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    load_mmdet()
    torch.manual_seed(0)
    config = load_config(tiny_config)
    network = MODELS.build(config.copy().model)
    state = {
        key: torch.randn_like(value) * 0.2 if "cls" in key else value for key, value in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pth"
    save_checkpoint({"state_dict": state, "meta": {"cfg": config.pretty_text}}, path)
    return path


@pytest.fixture
def photos(tmp_path: Path, tiny_set: Path) -> Path:
    """Two folders with a picture of the same name each, and one above them."""
    source = sorted((tiny_set / "val").glob("*.png"))
    for index, name in enumerate(("a/1.png", "b/1.png", "2.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source[index], tmp_path / "photos" / name)
    return tmp_path / "photos"


def infer(*args: object) -> int:
    return run("infer", [*map(str, args), "--score-thr", "0.01", "--device", "cpu"])


def read(out: Path) -> dict:
    return json.loads((out / "predictions.json").read_text())


def test_a_folder_is_mirrored_and_written_as_coco(checkpoint: Path, photos: Path, tmp_path: Path):
    from pycocotools.coco import COCO

    assert infer(checkpoint, photos, "-o", tmp_path / "out") == 0
    coco = COCO(tmp_path / "out" / "predictions.json")
    assert sorted(image["file_name"] for image in coco.dataset["images"]) == ["2.png", "a/1.png", "b/1.png"]
    for image in coco.dataset["images"]:
        drawn = cv2.imread(str(tmp_path / "out" / image["file_name"]))
        original = cv2.imread(str(photos / image["file_name"]))
        assert drawn.shape == original.shape
        assert (drawn != original).any() == bool(coco.getAnnIds(image["id"]))
    assert [category["name"] for category in coco.dataset["categories"]] == ["dark", "light"]
    ids = [annotation["id"] for annotation in coco.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


def test_results_do_not_depend_on_how_inputs_are_named(
    checkpoint: Path, tiny_config: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "list.txt").write_text("# pictures\nphotos/a/1.png\n\nphotos/b/1.png\nphotos/2.png\n")
    monkeypatch.chdir(tmp_path.parent)
    ways = {
        "folder": [checkpoint, photos],
        "glob": [checkpoint, f"{photos}/**/*.png"],
        "list": [checkpoint, tmp_path / "list.txt"],
        "files": [
            tiny_config,
            checkpoint,
            photos / "a/1.png",
            photos / "b/1.png",
            photos / "2.png",
            photos / "a/1.png",
        ],
        "flag": [tiny_config, photos, "--checkpoint", checkpoint],
    }
    found = {}
    for name, items in ways.items():
        assert infer(*items, "-o", tmp_path / "out" / name, "--no-draw", "--batch-size", 2) == 0
        assert [path.name for path in (tmp_path / "out" / name).iterdir()] == ["predictions.json"]
        result = read(tmp_path / "out" / name)
        names = {image["id"]: image["file_name"] for image in result["images"]}
        found[name] = sorted((names[a["image_id"]], a["category_id"], *a["bbox"]) for a in result["annotations"])
    assert len(found["folder"]) > 0
    assert all(boxes == found["folder"] for boxes in found.values())


def test_a_broken_picture_is_left_out_and_named(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (photos / "a" / "broken.jpg").write_bytes(b"no picture")
    assert infer(checkpoint, photos, "-o", tmp_path / "out") == 1
    assert len(read(tmp_path / "out")["images"]) == 3
    text = capsys.readouterr().err
    assert "1 could not be read" in text
    assert "broken.jpg is not a picture" in text


def test_every_frame_of_a_video_is_done(checkpoint: Path, tmp_path: Path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for shade in range(0, 250, 50):
        writer.write(np.full((64, 96, 3), shade, np.uint8))
    writer.release()
    assert infer(checkpoint, tmp_path / "clip.avi", "-o", tmp_path / "out", "--batch-size", 2) == 0
    images = read(tmp_path / "out")["images"]
    assert [image["frame"] for image in images] == [0, 1, 2, 3, 4]
    assert [image["time"] for image in images] == [0, 0.1, 0.2, 0.3, 0.4]
    drawn = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert drawn.get(cv2.CAP_PROP_FPS) == 10


def test_a_damaged_video_is_left_out(checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    assert infer(checkpoint, tmp_path / "clip.mp4", photos, "-o", tmp_path / "out") == 1
    assert len(read(tmp_path / "out")["images"]) == 3
    assert "clip.mp4 is not a video" in capsys.readouterr().err


def test_inputs_of_which_none_can_be_read_leave_nothing(checkpoint: Path, tmp_path: Path):
    for name in ("clip.mp4", "a.jpg"):
        (tmp_path / name).write_bytes(b"nothing" * 100)
    assert infer(checkpoint, tmp_path / "clip.mp4", tmp_path / "a.jpg", "-o", tmp_path / "new" / "out") == 2
    assert not (tmp_path / "new").exists()


def test_classes_choose_what_is_kept(checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert infer(checkpoint, photos, "-o", tmp_path / "out", "--classes", "light", "--no-draw") == 0
    assert {annotation["category_id"] for annotation in read(tmp_path / "out")["annotations"]} == {2}
    assert infer(checkpoint, photos, "-o", tmp_path / "other", "--classes", "light,cat") == 2
    assert "no class 'cat'; it has dark, light" in capsys.readouterr().err


def test_earlier_results_and_inputs_are_safe(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    before = (photos / "2.png").read_bytes()
    assert infer(checkpoint, photos, "-o", photos, "--force") == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert (photos / "2.png").read_bytes() == before
    assert infer(checkpoint, photos, "-o", photos / "out") == 0
    assert infer(checkpoint, photos, "-o", photos / "out") == 2
    assert "--force" in capsys.readouterr().err
    assert infer(checkpoint, photos, "-o", photos / "out", "--force") == 0
    assert len(read(photos / "out")["images"]) == 3  # not the drawn ones of before


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["{c}", "{t}/empty"], "empty holds no pictures"),
        (["{c}", "{t}/none.jpg"], "none.jpg does not exist"),
        (["{c}", "{t}/*.gif"], "matches no files"),
        (["{c}"], "no input"),
        (["some_config", "{t}/photos"], "no checkpoint"),
        (["no_such_config", "{c}", "{t}/photos"], "no_such_config does not exist"),
        (["{t}/none.pth", "{t}/photos"], "none.pth does not exist"),
        (["{c}", "{t}/photos", "--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture, items: list[str], message: str
):
    (tmp_path / "empty").mkdir()
    assert infer(*(item.format(c=checkpoint, t=tmp_path) for item in items), "-o", tmp_path / "out") == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert message in text
    assert text.count("\n") == 1
