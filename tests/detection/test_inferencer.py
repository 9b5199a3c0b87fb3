import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from PIL import Image

from toolkit import load_model
from toolkit.checkpoint import save_checkpoint
from toolkit.config import load_config
from toolkit.detection.results import Detections
from toolkit.errors import UserError
from toolkit.ops import load_mmdet

BLOB_CONFIG = """
default_scope = "mmdet"
model = dict(type="BlobDetector")
classes = ("light",)
test_dataloader = dict(dataset=dict(type="CocoDataset", metainfo=dict(classes=classes), pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(200, 100), keep_ratio=True),
    dict(type="Pad", size_divisor=32),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]))
"""


@pytest.fixture(scope="session")
def blob_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose model finds, without weights, the one rectangle brighter than 200."""
    load_mmdet()
    from mmdet.models.detectors.base import BaseDetector

    class BlobDetector(BaseDetector):
        def __init__(self, **kwargs: object):
            super().__init__(data_preprocessor={"type": "DetDataPreprocessor"})
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def predict(self, inputs: torch.Tensor, samples: list, rescale: bool = True) -> list:
            for image, sample in zip(inputs, samples, strict=True):
                rows, columns = torch.where(image.mean(0) > 200)
                box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()[None]
                box /= box.new_tensor(sample.scale_factor).repeat(2)
                label = torch.zeros(1, dtype=torch.long)
                sample.pred_instances = InstanceData(bboxes=box, scores=torch.ones(1) * 0.9, labels=label)
            return samples

        loss = extract_feat = _forward = None

    MODELS.register_module(module=BlobDetector, force=True)
    path = tmp_path_factory.mktemp("blob") / "blob.py"
    path.write_text(BLOB_CONFIG)
    return path


def picture(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((height, width, 3), 60, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize(("height", "width"), [(100, 200), (50, 60), (400, 500), (300, 90)])
def test_boxes_are_in_pixels_of_the_original_picture(blob_config: Path, height: int, width: int):
    box = (width // 5, height // 4, width // 2, height // 2)
    found = load_model(blob_config).predict(picture(height, width, box))
    assert found.size == (height, width)
    step = max(height / 100, width / 200, 1)  # a pixel of the resized picture
    np.testing.assert_allclose(found.boxes[0], box, atol=1.5 * step)


def test_boxes_are_in_the_picture_as_it_is_seen(blob_config: Path, tmp_path: Path):
    upright, box = picture(200, 100, (10, 20, 50, 80)), (10, 20, 50, 80)
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its left side: turn by 90 degrees clockwise to see it
    Image.fromarray(np.rot90(upright, 1)).save(tmp_path / "turned.png", exif=exif)
    found = load_model(blob_config).predict(tmp_path / "turned.png")
    assert found.size == (200, 100)
    np.testing.assert_allclose(found.boxes[0], box, atol=3.1)
    assert found.draw().shape == (200, 100, 3)


def tiny_checkpoint(config: Path, path: Path, **meta: object) -> Path:
    load_mmdet()
    torch.manual_seed(0)
    loaded = load_config(config)
    network = MODELS.build(loaded.copy().model)
    state = {
        key: torch.randn_like(value) * 0.2 if "cls" in key else value for key, value in network.state_dict().items()
    }
    save_checkpoint({"state_dict": state, "meta": {"cfg": loaded.pretty_text, **meta}}, path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(
        tiny_config, tmp_path_factory.mktemp("c") / "c.pth", dataset_meta={"classes": ("ape", "bee")}
    )


def same(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    assert a.labels.tolist() == b.labels.tolist()


def test_a_batch_equals_single_pictures_whatever_their_sizes(tiny_config: Path, checkpoint: Path):
    model = load_model(tiny_config, checkpoint)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(96, 96), (60, 96), (96, 96), (80, 50)]]
    for together, image in zip(model.predict(images, batch_size=4), images, strict=True):
        same(together, model.predict(image))


def test_a_checkpoint_alone_is_enough(tiny_config: Path, checkpoint: Path, tiny_set: Path):
    alone, both = load_model(checkpoint), load_model(tiny_config, checkpoint)
    assert alone.classes == both.classes == ("ape", "bee")
    file = next((tiny_set / "val").glob("*.png"))
    same(alone.predict(file), both.predict(str(file)))
    same(alone.predict(file), alone.predict(cv2.imread(str(file))))


def test_results_are_sorted_inside_the_picture_and_above_the_threshold(checkpoint: Path, tiny_set: Path):
    model = load_model(checkpoint)
    files = sorted((tiny_set / "val").glob("*.png"))
    for found in model.predict(files, batch_size=3):
        assert (np.diff(found.scores) <= 0).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, [0, 2]] <= found.size[1]).all()
        middle = float(np.median(found.scores))
        assert (model.predict(found.path, score_thr=middle).scores >= middle).all()


def test_no_warnings_reach_the_user(checkpoint: Path, tiny_set: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        load_model(checkpoint).predict(next((tiny_set / "val").glob("*.png")))


def test_reading_ahead_is_bounded(checkpoint: Path):
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield np.zeros((32, 32, 3), np.uint8)

    next(load_model(checkpoint).iter_predict(endless(), batch_size=2))
    assert drawn == 4


def test_a_class_list_of_another_length_is_refused(tiny_config: Path, tmp_path: Path):
    path = tiny_checkpoint(tiny_config, tmp_path / "c.pth", dataset_meta={"classes": ("a", "b", "c")})
    with pytest.raises(UserError, match=r"c\.pth lists 3 classes .* the model has 2"):
        load_model(path)


def test_a_config_that_names_code_is_refused(tmp_path: Path):
    mark = tmp_path / "mark"
    text = f"model = dict(type='os.system', command='touch {mark}')"
    save_checkpoint({"state_dict": {"a": torch.zeros(1)}, "meta": {"cfg": text}}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"model\.type 'os.system'"):
        load_model(tmp_path / "c.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((4, 4, 4), np.uint8), "BGR"), (np.zeros((4, 4, 3)), "uint8"), (np.zeros((0, 4, 3), np.uint8), "pixels")],
)
def test_arrays_that_are_no_pictures_are_refused(checkpoint: Path, image: np.ndarray, message: str):
    with pytest.raises(UserError, match=message):
        load_model(checkpoint).predict(image)


def test_what_is_missing_is_said(checkpoint: Path):
    with pytest.raises(UserError, match=r"none\.pth does not exist"):
        load_model("none.pth")
    with pytest.raises(UserError, match="device 'tpu9'"):
        load_model(checkpoint, device="tpu9")
    with pytest.raises(UserError, match=r"no picture none\.jpg"):
        load_model(checkpoint).predict("none.jpg")


@pytest.fixture
def three() -> Detections:
    boxes = np.array([[0, 0, 10, 20], [5.25, 5, 8, 9], [1, 2, 3, 4]], np.float32)
    masks = np.zeros((3, 30, 40), bool)
    masks[0, :20, :10] = True
    return Detections(boxes, np.array([0.9, 0.5, 0.2], np.float32), np.array([1, 0, 1]), ("a", "b"), (30, 40), masks)


def test_filters_keep_all_parts_together(three: Detections):
    found = three.filter(score_thr=0.3, classes=["b"])
    assert found.names == ["b"]
    assert found.boxes.tolist() == [[0, 0, 10, 20]]
    assert found.masks.sum() == 200
    assert len(three.filter(classes=[])) == 0
    with pytest.raises(UserError, match=r"no class 'c'; it has a, b"):
        three.filter(classes=["c"])


def test_coco_annotations(three: Detections):
    from pycocotools import mask as coco_mask

    first, second, _ = three.to_coco(7, first_id=3)
    assert (first["id"], first["image_id"], first["category_id"]) == (3, 7, 2)
    assert second["bbox"] == [5.25, 5, 2.75, 4]
    assert first["area"] == 200
    assert (coco_mask.decode(first["segmentation"]) == three.masks[0]).all()


def test_drawing_stays_near_the_boxes_and_leaves_the_picture_alone(three: Detections):
    image = np.full((30, 40, 3), 128, np.uint8)
    far = Detections(np.array([[2, 2, 8, 8.0]]), np.ones(1), np.zeros(1, int), ("a" * 50,), (300, 400))
    big = np.full((300, 400, 3), 128, np.uint8)
    drawn = far.draw(big)
    assert (big == 128).all()
    assert (drawn[60:] == 128).all()
    assert (drawn != 128).any()
    assert three.draw(image).shape == image.shape
    with pytest.raises(UserError, match="the detections are of one of"):
        three.draw(big)
