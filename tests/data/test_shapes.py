"""The synthetic set: made from its seed alone, labelled to the pixel, and as varied as it says."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from toolkit.cli import run
from toolkit.data.shapes import CLASSES, MIN_VISIBLE, SCALE_RANGE, class_mask, make_picture, run_lengths


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of 12 + 3 pictures of 128 pixels."""
    out = tmp_path_factory.mktemp("shapes") / "set"
    assert run("make-shapes", [str(out), "--train", "12", "--val", "3", "--size", "128", "--seed", "5"]) == 0
    return out


def contents(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes_and_pictures_do_not_depend_on_their_number(made, tmp_path):
    run("make-shapes", [str(tmp_path / "same"), "--train", "12", "--val", "3", "--size", "128", "--seed", "5"])
    run("make-shapes", [str(tmp_path / "fewer"), "--train", "2", "--val", "1", "--size", "128", "--seed", "5"])
    run("make-shapes", [str(tmp_path / "other"), "--train", "2", "--val", "1", "--size", "128", "--seed", "6"])
    assert contents(tmp_path / "same") == contents(made)
    first = "train/000001.jpg"
    assert (tmp_path / "fewer" / first).read_bytes() == (made / first).read_bytes()
    assert (tmp_path / "other" / first).read_bytes() != (made / first).read_bytes()
    assert (made / "train/000000.jpg").read_bytes() != (made / "val/000000.jpg").read_bytes()


def test_annotations_agree_with_each_other_and_with_the_mask_files(made):
    for split in ("train", "val"):
        content = json.loads((made / f"{split}.json").read_text())
        assert [category["name"] for category in content["categories"]] == list(CLASSES)
        assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
        for image in content["images"]:
            drawn = np.zeros((128, 128), np.uint8)
            for one in (a for a in content["annotations"] if a["image_id"] == image["id"]):
                rle = coco_mask.frPyObjects(one["segmentation"], 128, 128)
                mask = coco_mask.decode(rle).astype(bool)
                assert not drawn[mask].any(), "what is seen belongs to one shape"
                assert coco_mask.toBbox(rle).tolist() == one["bbox"]
                assert mask.sum() == one["area"]
                drawn[mask] = one["category_id"]
            stored = cv2.imread(str(made / "masks" / split / f"{image['file_name'][:-4]}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(stored, drawn)
            assert cv2.imread(str(made / split / image["file_name"])).shape == (128, 128, 3)


def test_shapes_overlap_vary_in_size_and_stay_in_sight():
    diameters, hidden, labels = [], 0, set()
    for seed in range(80):
        _, shapes = make_picture(np.random.default_rng(seed), 128)
        assert shapes
        for shape in shapes:
            seen = shape.mask.sum()
            assert seen >= MIN_VISIBLE * shape.area
            whole = not (shape.mask[[0, -1]].any() or shape.mask[:, [0, -1]].any())
            hidden += whole and seen < 0.9 * shape.area
            labels.add(shape.label)
            if whole and CLASSES[shape.label] == "circle":
                diameters.append(max(shape.box[2:]))
    assert labels == set(range(len(CLASSES)))
    assert hidden > 20, "many shapes are partly covered by others"
    assert 5 < max(diameters) / min(diameters) <= 1.2 * SCALE_RANGE


def test_a_mask_covers_the_drawn_colour():
    """Where a shape is, the picture differs from its surroundings more than across the ground."""
    contrasts = []
    for seed in range(20):
        picture, shapes = make_picture(np.random.default_rng(seed), 128)
        for shape in shapes:
            mask = shape.mask.astype(np.uint8)
            ring = (cv2.dilate(mask, np.ones((9, 9))) > 0) & (class_mask(shapes, 128) == 0)
            if ring.sum() > 20:
                contrasts.append(np.linalg.norm(picture[shape.mask].mean(0) - picture[ring].mean(0)))
    assert np.median(contrasts) > 60


def test_run_lengths_are_what_coco_reads():
    for seed, share in enumerate((0.0, 0.2, 0.8, 1.0)):
        mask = np.random.default_rng(seed).random((7, 5)) < share
        rle = coco_mask.frPyObjects({"size": [7, 5], "counts": run_lengths(mask)}, 7, 5)
        assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)


def test_an_existing_folder_is_replaced_only_with_force_and_only_if_it_is_a_set(tmp_path, capsys):
    options = ["--train", "1", "--val", "1", "--size", "96"]
    out = tmp_path / "set"
    out.mkdir()
    assert run("make-shapes", [str(out), *options]) == 0, "an empty folder is free"
    before = contents(out)
    assert run("make-shapes", [str(out), *options, "--seed", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert contents(out) == before
    assert run("make-shapes", [str(out), *options, "--seed", "1", "--force"]) == 0
    assert contents(out) != before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert run("make-shapes", [str(mine), *options, "--force"]) == 2
    assert (mine / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    from toolkit.data import shapes

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "_annotation", interrupted)
    assert run("make-shapes", [str(tmp_path / "set"), "--train", "1", "--val", "1", "--size", "96"]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--train", "--val", "--size", "--seed"])
def test_options_out_of_range_are_named(tmp_path, capsys, option):
    assert run("make-shapes", [str(tmp_path / "set"), option, "-1"]) == 2
    assert option in capsys.readouterr().err
