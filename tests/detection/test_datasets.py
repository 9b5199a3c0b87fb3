"""CocoDetection: the same data as mmdet's CocoDataset, and a clear line for each thing that can be wrong."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

import toolkit  # noqa: F401
from toolkit.errors import UserError
from toolkit.ops import load_mmdet


def build(root: Path, type: str = "CocoDetection", **options):
    load_mmdet()
    return DATASETS.build(
        {"type": type, "data_root": str(root), "ann_file": "a.json", "data_prefix": {"img": "a/"}, **options}
    )


def annotation(number: int, image: int = 1, category: int = 1, bbox=(10, 10, 20, 20), **keys) -> dict:
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox),
            "area": bbox[2] * bbox[3], "iscrowd": 0, **keys}  # fmt: skip


def write(root: Path, content: dict) -> None:
    (root / "a.json").write_text(json.dumps(content))


@pytest.fixture
def content(tmp_path: Path) -> dict:
    """Three pictures of 64x48 in `tmp_path`/a, the first with two boxes, the second with one."""
    (tmp_path / "a").mkdir()
    for number in range(1, 4):
        cv2.imwrite(str(tmp_path / "a" / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(1, 4)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 3, "name": "owl"}],
        "annotations": [annotation(1), annotation(2, category=7), annotation(3, image=2, category=3)],
    }


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("filter_cfg", [None, {"filter_empty_gt": True}, {"min_size": 50}])
def test_gives_what_mmdet_gives(tmp_path, content, test_mode, filter_cfg):
    content["annotations"] += [
        annotation(4, image=2, iscrowd=1),
        annotation(5, bbox=(10, 10, 0, 5)),
        annotation(6, bbox=(70, 10, 9, 9)),
    ]
    content["images"][2] |= {"width": 300, "height": 300}
    write(tmp_path, content)
    options = {"test_mode": test_mode, "filter_cfg": filter_cfg, "metainfo": {"classes": ("dog", "cat", "owl")}}
    if filter_cfg == {"min_size": 50} and not test_mode:
        with pytest.raises(UserError, match=r"2 smaller than filter_cfg\.min_size=50"):
            build(tmp_path, **options)
        return
    ours, theirs = build(tmp_path, **options), build(tmp_path, "mmdet.CocoDataset", **options)
    assert len(ours) == len(theirs)
    for index in range(len(ours)):
        assert ours.get_data_info(index) == theirs.get_data_info(index)


def test_classes_are_the_files_when_the_config_names_none(tmp_path, content, capsys):
    write(tmp_path, content)
    dataset = build(tmp_path)
    assert dataset.metainfo["classes"] == ("dog", "cat", "owl")
    assert [one["bbox_label"] for one in dataset.get_data_info(0)["instances"]] == [1, 0]
    assert capsys.readouterr().out == ""


def test_a_part_of_the_classes_may_be_asked_for(tmp_path, content):
    write(tmp_path, content)
    dataset = build(tmp_path, metainfo={"classes": ["cat", "owl"]}, filter_cfg={"filter_empty_gt": True})
    assert [[one["bbox_label"] for one in dataset.get_data_info(i)["instances"]] for i in range(2)] == [[0], [1]]


@pytest.mark.parametrize(
    ("metainfo", "message"),
    [
        ({"classes": ("cat", "bird", "fish")}, "'bird', 'fish'.*its classes are 'dog', 'cat', 'owl'"),
        ({"classes": ("cat", "dog")}, r"another order.*\('dog', 'cat'\)"),
        ({"classes": "cat"}, r"\('cat',\)"),
        ({"CLASSES": ("cat",)}, "lower case"),
    ],
)
def test_classes_that_do_not_match(tmp_path, content, metainfo, message):
    write(tmp_path, content)
    with pytest.raises(UserError, match=message):
        build(tmp_path, metainfo=metainfo)


def test_missing_pictures_are_counted_and_named(tmp_path, content):
    content["images"] += [{"id": i, "file_name": f"sub/{i}.png", "width": 9, "height": 9} for i in range(4, 9)]
    write(tmp_path, content)
    with pytest.raises(UserError, match=r"5 of its 8 pictures are missing: .*sub/4\.png.*sub/6\.png, \.\.\.$"):
        build(tmp_path)


def test_a_missing_or_foreign_file(tmp_path, content):
    with pytest.raises(UserError, match=r"a\.json: the annotation file does not exist"):
        build(tmp_path)
    for text, message in (("{", "not JSON"), ("[]", "no list 'images'"), ('{"images": []}', "no list 'annotations'")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=rf"a\.json.*{message}"):
            build(tmp_path)
    del content["annotations"][1]["bbox"]
    write(tmp_path, content)
    with pytest.raises(UserError, match=r"annotations\[1\] needs bbox"):
        build(tmp_path)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_an_id_that_occurs_twice(tmp_path, content, part):
    content[part].append(dict(content[part][0]))
    write(tmp_path, content)
    with pytest.raises(UserError, match=f"1 ids of {part} occur more than once"):
        build(tmp_path)


def test_says_what_was_read_and_why_each_was_dropped_when_nothing_is_left(tmp_path, content):
    content["annotations"] = [
        annotation(1, category=7),
        annotation(2, bbox=(5, 5, 0, 9)),
        annotation(3, bbox=(5, 5, 8, -2)),
        annotation(4, bbox=(99, 5, 8, 8)),
        annotation(5, image=2, iscrowd=1),
        annotation(6, image=44),
    ]
    write(tmp_path, content)
    with pytest.raises(UserError) as error:
        build(tmp_path, metainfo={"classes": ("cat",)}, filter_cfg={"filter_empty_gt": True})
    for part in (
        "3 pictures and 6 boxes were read",
        "3 without a usable box",
        "1 of a class that metainfo.classes does not name",
        "2 smaller than a pixel or of no size",
        "1 outside the picture",
        "1 a crowd",
        "1 of a picture that is not listed",
    ):
        assert part in str(error.value)
    with pytest.raises(UserError, match="nothing is left to train on"):
        build(tmp_path, metainfo={"classes": ("cat",)})


def test_a_zero_size_box_beside_good_ones_is_left_out(tmp_path, content):
    content["annotations"].append(annotation(9, bbox=(3, 3, 0, 0)))
    write(tmp_path, content)
    pipeline = [{"type": "LoadImage"}, {"type": "LoadAnnotations", "with_bbox": True}, {"type": "PackDetInputs"}]
    dataset = build(tmp_path, pipeline=[dict(step, _scope_="mmdet") for step in pipeline])
    assert dataset[0]["data_samples"].gt_instances.bboxes.tensor.tolist() == [[10, 10, 30, 30]] * 2
