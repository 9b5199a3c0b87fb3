"""The contact sheet must show labels where the objects are, whatever the pipeline does."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from toolkit import visualization
from toolkit.cli import run
from toolkit.data.shapes import CLASSES, make_set

PACK = 'dict(type="PackDetInputs", meta_keys=("img_path", "scale_factor"))'


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sheet") / "shapes"
    make_set(root, 6, 3, 96, 0)
    return root


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What is drawn from here on: (picture, boxes, masks) of each sample."""
    seen, draw_boxes = [], visualization.draw_boxes

    def note(image, boxes, labels, texts, masks=None):
        seen.append((image, boxes, masks))
        return draw_boxes(image, boxes, labels, texts, masks)

    monkeypatch.setattr(visualization, "draw_boxes", note)
    return seen


def config(folder: Path, root: Path, train: str = "", val: str = "", with_mask: bool = False) -> str:
    """A config file; `train` follows the loading of annotations, `val` comes before it as in test pipelines."""
    text = f"""
load = [dict(type="LoadImage"), dict(type="LoadAnnotations", with_bbox=True, with_mask={with_mask})]
common = dict(type="CocoDetection", data_root={str(root)!r})
train_dataloader = dict(dataset=dict(
    ann_file="train.json", data_prefix=dict(img="train/"), pipeline=[*load, {train} {PACK}], **common))
val_dataloader = dict(dataset=dict(
    ann_file="val.json", data_prefix=dict(img="val/"), pipeline=[load[0], {val} load[1], {PACK}], test_mode=True,
    **common))
"""
    (folder / "c.py").write_text(text)
    return str(folder / "c.py")


def browse(file: str, out: Path, *options: str) -> np.ndarray:
    """The sheet that the command writes to `out`."""
    assert run("browse-data", [file, "-o", str(out), *options]) == 0
    return cv2.imread(str(out))


def test_boxes_that_are_loaded_after_resizing_are_drawn_in_place(tmp_path, shapes, drawn):
    browse(config(tmp_path, shapes), tmp_path / "a.png", "--split", "val")
    resize = 'dict(type="Resize", scale=(192, 192), keep_ratio=True),'
    browse(config(tmp_path, shapes, val=resize), tmp_path / "b.png", "--split", "val")
    assert len(drawn) == 6
    for (image, boxes, _), (resized, same, _) in zip(drawn[:3], drawn[3:], strict=True):
        assert image.shape == resized.shape
        np.testing.assert_allclose(boxes, same, atol=1e-3)


def test_masks_and_boxes_follow_augmentation(tmp_path, shapes, drawn):
    browse(config(tmp_path, shapes, 'dict(type="RandomFlip", prob=1.0),', with_mask=True), tmp_path / "a.png")
    assert len(drawn) == 6
    for image, boxes, masks in drawn:
        pixel = image.shape[0] / 96
        for box, mask in zip(boxes, masks, strict=True):
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            np.testing.assert_allclose([x, y, x + width, y + height], box, atol=pixel / 2)


@pytest.mark.parametrize("cached", [True, False])
def test_mosaics_mix_pictures(tmp_path, shapes, drawn, cached):
    mosaic = 'dict(type="CachedMosaic", img_scale=(96, 96), max_cached_images=8, random_pop=False),'
    browse(config(tmp_path, shapes), tmp_path / "a.png")
    plain = sum(len(boxes) for _, boxes, _ in drawn)
    drawn.clear()
    file = config(tmp_path, shapes, mosaic if cached else "")
    if not cached:
        wrapped = f"""
inner = dict(train_dataloader["dataset"], pipeline=load)
train_dataloader["dataset"] = dict(
    type="MultiImageMixDataset", dataset=inner, pipeline=[dict(type="Mosaic", img_scale=(96, 96)), {PACK}])
"""
        Path(file).write_text(Path(file).read_text() + wrapped)
    browse(file, tmp_path / "b.png")
    assert sum(len(boxes) for _, boxes, _ in drawn) > plain


def test_a_seed_gives_one_sheet(tmp_path, shapes, capsys):
    file = config(tmp_path, shapes, 'dict(type="RandomFlip", prob=0.5),')
    sheets = [
        browse(file, tmp_path / f"{place}.png", "--count", "4", "--seed", seed) for place, seed in enumerate("445")
    ]
    assert np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])
    assert any(name in capsys.readouterr().out for name in CLASSES)


def test_class_masks_tint_the_picture(tmp_path, shapes):
    file = tmp_path / "s.py"
    text = f"""
default_scope = "mmseg"
train_dataloader = dict(dataset=dict(
    type="BaseSegDataset", data_root={str(shapes)!r}, data_prefix=dict(img_path="train", seg_map_path="masks/train"),
    metainfo=dict(classes=("ground", *{CLASSES!r})), img_suffix=".jpg", seg_map_suffix=".png",
    pipeline=[dict(type="LoadImage"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]))
"""
    file.write_text(text)
    tinted = browse(str(file), tmp_path / "a.png", "--count", "2")
    file.write_text(text.replace('dict(type="LoadAnnotations"),', ""))
    plain = browse(str(file), tmp_path / "b.png", "--count", "2")
    assert tinted.shape == plain.shape
    assert (tinted != plain).any(-1).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "test"], "test_dataloader"),
        (["--count", "0"], "--count"),
        (["-o", "sheet.xyz"], ".png"),
        (["--cfg-options", "train_dataloader.dataset.type=CocoDetections"], "did you mean 'CocoDetection'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, shapes, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert run("browse-data", [config(tmp_path, shapes), *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
