import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from toolkit.cli import run
from toolkit.crowd.datasets import CrowdPoints
from toolkit.crowd.formats import read_crowd
from toolkit.errors import UserError

HEADS = np.array([[10.5, 20.0], [30.0, 5.0], [61.0, 47.5]])


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))


def info(points: np.ndarray) -> dict:
    """The nesting of ShanghaiTech's files."""
    inner = np.zeros((1, 1), [("location", object), ("number", object)])
    inner[0, 0] = (points, len(points))
    outer = np.empty((1, 1), object)
    outer[0, 0] = inner
    return {"image_info": outer}


def shanghaitech(root: Path) -> None:
    picture(root / "images" / "IMG_1.jpg")
    (root / "ground_truth").mkdir()
    savemat(root / "ground_truth" / "GT_IMG_1.mat", info(HEADS))


def ucf(root: Path) -> None:
    picture(root / "img_0001.jpg")
    savemat(root / "img_0001_ann.mat", {"annPoints": HEADS})


def jhu(root: Path) -> None:
    picture(root / "images" / "0001.jpg")
    (root / "gt").mkdir()
    (root / "gt" / "0001.txt").write_text("".join(f"{x} {y} 12 14 1 0\n" for x, y in HEADS))


def nwpu_mat(root: Path) -> None:
    picture(root / "images" / "0001.jpg")
    (root / "mats").mkdir()
    savemat(root / "mats" / "0001.mat", {"annPoints": HEADS})


def nwpu_json(root: Path) -> None:
    picture(root / "images" / "0001.jpg")
    (root / "jsons").mkdir()
    (root / "jsons" / "0001.json").write_text(json.dumps({"points": HEADS.tolist(), "human_num": 3}))


def mall(root: Path) -> None:
    picture(root / "frames" / "seq_000001.jpg")
    inner = np.zeros((1, 1), [("loc", object)])
    inner[0, 0] = (HEADS + 1,)
    frame = np.empty((1, 1), object)
    frame[0, 0] = inner
    savemat(root / "mall_gt.mat", {"frame": frame})


@pytest.mark.parametrize("make", [shanghaitech, ucf, jhu, nwpu_mat, nwpu_json, mall], ids=lambda make: make.__name__)
def test_published_layouts_give_the_same_points(make, tmp_path: Path):
    make(tmp_path)
    (entry,), folder, outside = read_crowd(tmp_path)
    assert (folder / entry["file_name"]).is_file()
    assert (entry["width"], entry["height"], entry["count"], outside) == (64, 48, 3, 0)
    np.testing.assert_allclose(entry["points"], HEADS, atol=0.01)


def test_heads_of_coco_are_keypoints_or_the_top_of_the_box(tmp_path: Path):
    picture(tmp_path / "a.jpg")
    seen = [0, 0, 0] + [10, 8, 2] + [14, 8, 2] + [0, 0, 0] * 2 + [30, 40, 2] * 12
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 7, "keypoints": seen, "bbox": [0, 0, 40, 40]},
            {"image_id": 7, "bbox": [20, 10, 10, 30]},
            {"image_id": 7, "bbox": [0, 0, 10, 10], "iscrowd": 1},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    (entry,), _, _ = read_crowd(tmp_path / "coco.json")
    np.testing.assert_allclose(entry["points"], [[12, 8], [25, 13]])


def test_the_command_writes_what_the_data_set_reads(tmp_path: Path, capsys: pytest.CaptureFixture):
    shanghaitech(tmp_path / "train_data")
    savemat(tmp_path / "train_data" / "ground_truth" / "GT_IMG_1.mat", info(np.append(HEADS, [[64.5, 3], [200, 3]], 0)))
    out = tmp_path / "set" / "train.json"
    assert run("convert", ["crowd", str(tmp_path / "train_data"), str(out)]) == 0
    assert "1 pictures, 4 heads; 1 outside left out" in capsys.readouterr().out
    dataset = CrowdPoints("train.json", dict(img="train/"), str(out.parent))
    assert len(dataset) == 1
    np.testing.assert_allclose(dataset[0]["points"][:3], HEADS, atol=0.01)
    assert run("convert", ["crowd", str(tmp_path / "train_data"), str(out)]) == 2


def test_what_is_wrong_is_named(tmp_path: Path):
    picture(tmp_path / "images" / "IMG_1.jpg")
    with pytest.raises(UserError, match="no picture has head points"):
        read_crowd(tmp_path)
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "IMG_1.txt").write_text("12 nan\n")
    with pytest.raises(UserError, match=r"IMG_1\.txt"):
        read_crowd(tmp_path)
    (tmp_path / "gt" / "IMG_1.txt").write_text("12 13\n")
    picture(tmp_path / "images" / "IMG_2.jpg")
    with pytest.raises(UserError, match=r"1 of 2 pictures have no head points: IMG_2\.jpg"):
        read_crowd(tmp_path)
    for text in ('{"images": []}', '{"images": [{"file_name": "a.jpg", "points": [[1]]}]}', "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad\.json"):
            CrowdPoints("bad.json", dict(img="images"), str(tmp_path))


@pytest.mark.shared
def test_two_real_files(shared: Path):
    entries, _, outside = read_crowd(shared / "data" / "crowd")
    assert [entry["count"] for entry in entries] == [170, 95]
    assert outside == 0
