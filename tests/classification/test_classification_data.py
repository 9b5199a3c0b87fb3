from pathlib import Path

import cv2
import numpy as np
import pytest

from toolkit.classification.datasets import DigitClassification, FolderClassification
from toolkit.classification.transforms import PackClass, RandomResizedCrop
from toolkit.cli import run
from toolkit.data.class_folders import find_classes
from toolkit.errors import UserError


def test_classes_are_folders_by_name(brightness: Path):
    data = FolderClassification(data_root=str(brightness))
    assert data.metainfo["classes"] == ("bright", "dark", "grey")
    assert len(data) == 30
    assert all(Path(data[i]["img_path"]).parent.name == data.metainfo["classes"][data[i]["label"]] for i in range(30))


def test_metainfo_chooses_classes_and_their_order(brightness: Path):
    data = FolderClassification(data_root=str(brightness), metainfo=dict(classes=("grey", "bright")))
    assert [Path(data[i]["img_path"]).parent.name for i in (0, 10)] == ["grey", "bright"]
    assert [data[i]["label"] for i in (0, 10)] == [0, 1]
    with pytest.raises(UserError, match="no folder 'gray'; did you mean 'grey'"):
        FolderClassification(data_root=str(brightness), metainfo=dict(classes=("gray", "bright")))


def test_parts_hold_every_picture_once(brightness: Path):
    parts = [FolderClassification(str(brightness), part=part) for part in ("train", "val", None)]
    train, val, whole = ([entry["img_path"] for entry in part.entries] for part in parts)
    assert sorted(train + val) == sorted(whole)
    assert [Path(path).stem for path in val] == ["04", "09"] * 3
    with pytest.raises(UserError, match="'train', 'val' or None"):
        FolderClassification(str(brightness), part="test")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ([], "has 0 folders"),
        (["one/a.png"], "has 1 folders"),
        (["one/a.png", "two/"], "two: no pictures"),
        (["one/a.png", ".two/b.png"], "has 1 folders"),
        (None, "no such folder"),
    ],
)
def test_folders_that_cannot_be_classes_are_named(make: list | None, message: str, tmp_path: Path):
    folder = tmp_path / "set"
    for name in make or ():
        path = folder / name
        path.mkdir(parents=True) if name.endswith("/") else path.parent.mkdir(parents=True)
        if not name.endswith("/"):
            path.touch()
    if make is not None:
        folder.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message):
        find_classes(folder)


def test_an_unreadable_picture_is_named(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"no picture")
    data = FolderClassification(str(tmp_path), pipeline=[dict(type="LoadImage")])
    with pytest.raises(UserError, match=r"a/x\.png is not a picture"):
        data[0]


def test_crops_lie_within_area_and_ratio():
    np.random.seed(0)
    crop = RandomResizedCrop(16, area=(0.2, 0.5), ratio=(0.8, 1.25))
    for _ in range(200):
        top, left, height, width = crop.place(60, 80)
        assert 0 <= top <= top + height <= 60
        assert 0 <= left <= left + width <= 80
        assert 0.2 - 0.02 <= height * width / 4800 <= 0.5 + 0.02
        assert 0.8 - 0.05 <= width / height <= 1.25 + 0.05


def test_a_crop_that_never_fits_is_the_middle():
    top, left, height, width = RandomResizedCrop(16, area=(1.0, 1.0)).place(10, 1000)
    assert (top, height) == (0, 10)
    assert (left, width) == (493, 13)  # 4/3 of the height


def test_a_crop_shows_what_it_cut_out():
    np.random.seed(1)
    ramp = np.tile(np.arange(100, dtype=np.uint8)[:, None, None], (1, 100, 3))  # says its row
    crop = RandomResizedCrop(50, area=(0.25, 0.25), ratio=(1.0, 1.0))
    shown = crop.transform({"img": ramp})["img"]
    assert shown.shape == (50, 50, 3)
    assert (np.diff(shown[:, 0, 0].astype(int)) == 1).all()


@pytest.mark.parametrize("wrong", [dict(area=(0.5, 0.2)), dict(area=(0.0, 1.0)), dict(ratio=(2.0, 1.0))])
def test_impossible_crops_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="RandomResizedCrop: "):
        RandomResizedCrop(16, **wrong)


def test_digits_in_memory_are_those_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("sklearn")
    out = tmp_path / "digits"
    assert run("make-digits", [str(out)]) == 0
    memory = DigitClassification("val", pipeline=[dict(type="PackClass")])
    written = FolderClassification("val", data_root=str(out), pipeline=[dict(type="LoadImage"), dict(type="PackClass")])
    assert memory.metainfo == written.metainfo
    assert len(memory) == len(written) == 1024
    by_name = {Path(sample["img_path"]).stem: sample for sample in written}
    for index in range(0, 1024, 50):
        sample = memory[index]
        assert sample["label"] == by_name[sample["img_path"]]["label"]
        assert (sample["inputs"] == by_name[sample["img_path"]]["inputs"]).all()
    capsys.readouterr()
    assert run("make-digits", [str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert run("make-digits", [str(tmp_path), "--force"]) == 2
    assert "something other than a set of digits" in capsys.readouterr().err


def test_packed_pixels_are_the_pictures(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), image)
    packed = PackClass().transform({"img": image, "label": 2})
    assert (packed["inputs"].permute(1, 2, 0).numpy() == image).all()
    assert packed["label"] == 2
    assert "label" not in PackClass().transform({"img": image})


def test_a_contact_sheet_names_the_classes(classifier_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run("browse-data", [str(classifier_config), "-o", str(tmp_path / "sheet.png"), "--count", "24"]) == 0
    assert "24 of 24 train pictures with 8 " in capsys.readouterr().out
