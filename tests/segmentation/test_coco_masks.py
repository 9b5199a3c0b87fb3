import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.cli import run
from toolkit.segmentation.datasets import read_mask


def write(path: Path, annotations: list[dict]) -> Path:
    images = [dict(id=7, file_name="sub/a.jpg", width=10, height=8)]
    categories = [dict(id=3, name="cat"), dict(id=90, name="dog")]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[list[int]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def test_small_objects_lie_on_large_ones(tmp_path: Path, capsys: pytest.CaptureFixture):
    runs = dict(size=[8, 10], counts=[0, 8, 72])  # the first column
    source = write(
        tmp_path / "a.json",
        [
            dict(id=1, image_id=7, category_id=90, segmentation=rectangle(4, 3, 6, 5)),
            dict(id=2, image_id=7, category_id=3, segmentation=rectangle(2, 1, 8, 7)),
            dict(id=3, image_id=7, category_id=90, segmentation=runs, iscrowd=1),
        ],
    )
    assert run("coco-masks", [str(source), str(tmp_path / "masks")]) == 0
    expected = np.zeros((8, 10), np.uint8)
    expected[1:7, 2:8] = 1
    expected[3:5, 4:6] = 2
    expected[:, 0] = 2
    assert np.array_equal(read_mask(tmp_path / "masks" / "sub" / "a.png"), expected)
    assert capsys.readouterr().out.splitlines()[-1] == "classes = ('background', 'cat', 'dog')"
    assert run("coco-masks", [str(source), str(tmp_path / "masks")]) == 2
    assert "--force" in capsys.readouterr().err


def test_panoptic_pictures_become_classes(tmp_path: Path):
    ids = np.zeros((8, 10), np.uint32)
    ids[:4], ids[4:, :5] = 70000, 300
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "a.png")
    segments = [dict(id=70000, category_id=90), dict(id=300, category_id=3)]
    source = write(tmp_path / "p.json", [dict(image_id=7, file_name="a.png", segments_info=segments)])
    assert run("coco-masks", [str(source), str(tmp_path / "masks"), "--panoptic", str(tmp_path)]) == 0
    expected = np.full((8, 10), 255)
    expected[:4], expected[4:, :5] = 1, 0
    assert np.array_equal(read_mask(tmp_path / "masks" / "sub" / "a.png"), expected)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (dict(segmentation=[], category_id=3), "annotation 5: has no segmentation"),
        (dict(segmentation=rectangle(0, 0, 2, 2), category_id=4), "category_id 4 is none"),
        (
            dict(segmentation=dict(size=[2, 2], counts=[0, 4]), category_id=3),
            "its run lengths are of 2x2",
        ),
        (dict(segmentation=["x"], category_id=3), "neither polygons nor run lengths"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, annotation: dict, message: str, capsys: pytest.CaptureFixture):
    source = write(tmp_path / "a.json", [dict(annotation, id=5, image_id=7)])
    assert run("coco-masks", [str(source), str(tmp_path / "masks")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [("[]", "is no COCO file"), ("{", "is not JSON")])
def test_other_files_are_named(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture):
    (tmp_path / "a.json").write_text(text)
    assert run("coco-masks", [str(tmp_path / "a.json"), str(tmp_path / "masks")]) == 2
    assert message in capsys.readouterr().err
