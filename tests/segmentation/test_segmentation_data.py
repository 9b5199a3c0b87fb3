import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, METRICS, DefaultScope
from PIL import Image

import toolkit  # noqa: F401
from toolkit.config import load_config
from toolkit.errors import UserError
from toolkit.ops import load_mmseg
from toolkit.segmentation.datasets import LoadMask, read_mask
from toolkit.segmentation.metrics import BoundaryIoU, boundary

CLASSES = ("road", "sky", "tree")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "sub/b"):
        for kind, suffix, size in (("images", ".jpg", (12, 16, 3)), ("masks", ".png", (12, 16))):
            path = tmp_path / kind / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 3, size).astype(np.uint8))
    return tmp_path


def build(folder, **others):
    return DATASETS.build(
        dict(
            type="FolderSegmentation",
            data_root=str(folder),
            data_prefix=dict(img_path="images", seg_map_path="masks"),
            **dict(metainfo=dict(classes=CLASSES)) | others,
        )
    )


def test_pairs_pictures_with_masks_below_folders(folder):
    data = build(folder)
    assert [data.get_data_info(i)["seg_map_path"] for i in range(len(data))] == [
        str(folder / "masks" / "a.png"),
        str(folder / "masks" / "sub" / "b.png"),
    ]


def test_masks_come_as_they_are_but_for_what_is_ignored(folder):
    mask = cv2.imread(str(folder / "masks" / "a.png"), cv2.IMREAD_UNCHANGED)
    mask[0, 0] = 9
    cv2.imwrite(str(folder / "masks" / "a.png"), mask)
    read = LoadMask()(build(folder, ignored=(9, 1)).get_data_info(0))["gt_seg_map"]
    expected = mask.copy()
    expected[(mask == 9) | (mask == 1)] = 255
    assert np.array_equal(read, expected)
    with pytest.raises(UserError, match=r"a\.png: has the number 9.*0 to 2"):
        LoadMask()(build(folder).get_data_info(0))


def test_what_is_wrong_is_named(folder):
    with pytest.raises(UserError, match=r"metainfo\.classes"):
        build(folder, metainfo=None)
    (folder / "masks" / "a.png").rename(folder / "masks" / "c.png")
    with pytest.raises(UserError, match=r"a\.png: the mask of .*a\.jpg is missing"):
        build(folder)
    with pytest.raises(UserError, match="no folder"):
        build(folder / "nowhere")


def test_masks_with_colours_are_refused_and_palettes_read(tmp_path):
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    picture.save(tmp_path / "palette.png")
    assert np.array_equal(read_mask(tmp_path / "palette.png"), indices)
    cv2.imwrite(str(tmp_path / "colours.png"), np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"colours\.png: a mask has one number"):
        read_mask(tmp_path / "colours.png")


def test_boundary_is_what_lies_near_the_outline():
    mask = np.zeros((20, 20), bool)
    mask[4:16, 5:18] = True
    rows, columns = np.nonzero(mask)
    near = np.minimum.reduce([rows - 4, 15 - rows, columns - 5, 17 - columns]) < 3
    expected = np.zeros_like(mask)
    expected[rows[near], columns[near]] = True
    assert np.array_equal(boundary(mask, 3), expected)
    whole = np.ones((6, 6), bool)
    assert boundary(whole, 1).sum() == 20  # the picture's border is outline


def test_boundary_iou_counts_bands_and_leaves_out_the_unknown():
    metric = METRICS.build(dict(type="BoundaryIoU", dilation_ratio=0.04))
    assert isinstance(metric, BoundaryIoU)
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:] = 1
    moved = np.zeros_like(truth)
    moved[:, 12:] = 1  # the outline two pixels off; bands are one pixel wide
    counts = metric.count(moved, truth, 3)
    # class 0: rings of 10x20 and 12x20, which share the left side and the rows above and below
    assert counts[:, 0].tolist() == [18 + 2 * 10, 2 * 10 + 2 * 18 + 2 * 2 + 18]
    assert counts[:, 2].tolist() == [0, 0]
    truth[:] = 255
    assert metric.count(moved, truth, 3).sum() == 0
    metric.dataset_meta = dict(classes=CLASSES)
    same = metric.count(moved, moved, 3)
    assert metric.compute_metrics([same, same]) == {"mBoundaryIoU": 100.0}


PUBLIC = {  # picture and mask of each published layout, and the class of a mask's number 1
    "cityscapes": ("leftImg8bit/train/ulm/a_leftImg8bit.png", "gtFine/train/ulm/a_gtFine_labelTrainIds.png", 19, 1),
    "ade20k": ("images/training/a.jpg", "annotations/training/a.png", 150, 0),
    "voc": ("JPEGImages/a.jpg", "SegmentationClass/a.png", 21, 1),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_are_read_as_the_readme_says(name, tmp_path):
    load_mmseg()
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    block = text.partition("### Public sets through mmseg")[2].partition("```python\n")[2].partition("```")[0]
    configs = {}
    exec(block, configs)
    picture, mask, classes, label = PUBLIC[name]
    for file, content in ((picture, np.full((6, 8, 3), 90, np.uint8)), (mask, np.ones((6, 8), np.uint8))):
        (tmp_path / file).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / file), content)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    with DefaultScope.overwrite_default_scope("mmseg"):
        data = DATASETS.build(dict(configs[name], data_root=str(tmp_path)))
        sample = data[0]
    assert len(data) == 1
    assert len(data.metainfo["classes"]) == classes
    assert sample["inputs"].shape == (3, 6, 8)
    assert sample["data_samples"].gt_sem_seg.data.unique().tolist() == [label]


def test_a_set_of_ones_own_is_read_as_the_readme_says(folder):
    load_mmseg()
    root = Path(__file__).parents[2]
    text = (root / "data" / "README.md").read_text().partition("## Segmentation\n")[2]
    block = text.partition("```python\n")[2].partition("```")[0]
    for part in ("train", "val"):
        shutil.copytree(folder / "images", folder / "set" / part / "images")
        shutil.copytree(folder / "masks", folder / "set" / part / "masks")
    path = folder / "my_config.py"
    path.write_text(block.replace("configs/", f"{root}/configs/").replace("data/my_set/", f"{folder}/set/"))
    config = load_config(path)
    with DefaultScope.overwrite_default_scope("mmseg"):
        data = [DATASETS.build(config[f"{part}_dataloader"].dataset) for part in ("train", "val", "test")]
        assert [len(part) for part in data] == [2, 2, 2]
        assert data[1][0]["inputs"].shape == (3, 12, 16)
    assert data[0].metainfo["classes"] == CLASSES
    assert config.model.decode_head.num_classes == len(CLASSES)
