"""A tiny data set and a tiny detector on it, for tests that train."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

import toolkit  # noqa: F401  before any test imports mmdet, which needs mmcv's operators

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small runs share the machine

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"

TINY_CONFIG = """
custom_imports = dict(imports=["toolkit"])
default_scope = "mmdet"
data_root = "{root}/"
model = dict(
    type="FCOS",
    data_preprocessor=dict(type="DetDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, pad_size_divisor=32),
    backbone=dict(
        type="ResNet", depth=18, base_channels=8, num_stages=4, out_indices=(1, 2, 3),
        norm_cfg=dict(type="BN", requires_grad=False), norm_eval=True, style="pytorch",
    ),
    neck=dict(type="FPN", in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    bbox_head=dict(
        type="FCOSHead", num_classes=2, in_channels=16, stacked_convs=1, feat_channels=16, strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)), norm_cfg=dict(type="GN", num_groups=4),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="IoULoss", loss_weight=1.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
    test_cfg=dict(nms_pre=100, score_thr=0.01, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(96, 96), ratio_range=(0.7, 1.3), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=(64, 64), allow_negative_crop=True),
    dict(type="Pad", size=(64, 64)),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(96, 96), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
classes = ("dark", "light")
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CocoDetection", data_root=data_root, ann_file="train.json", data_prefix=dict(img="train/"),
        metainfo=dict(classes=classes), pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDetection", data_root=data_root, ann_file="val.json", data_prefix=dict(img="val/"),
        metainfo=dict(classes=classes), test_mode=True, pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = val_evaluator
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=3)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.001))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
    dict(type="CosineAnnealingLR", begin=1, end=3, T_max=2, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.01, update_buffers=True, priority=49)]
"""


def write_tiny_set(root: Path, train: int = 8, val: int = 4, size: int = 96) -> Path:
    """A COCO set of dark and light rectangles on grey noise below `root`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        images, annotations = [], []
        (root / split).mkdir(parents=True)
        for index in range(count):
            picture = rng.integers(100, 156, (size, size, 3), dtype=np.uint8)
            for _ in range(3):
                label = int(rng.integers(2))
                x, y, w, h = (int(v) for v in (*rng.integers(0, size // 2, 2), *rng.integers(16, size // 2, 2)))
                cv2.rectangle(picture, (x, y), (x + w - 1, y + h - 1), (230,) * 3 if label else (20,) * 3, -1)
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=index + 1, category_id=label + 1, bbox=[x, y, w, h],
                         area=w * h, iscrowd=0)
                )  # fmt: skip
            cv2.imwrite(str(root / split / f"{index:02d}.png"), picture)
            images.append(dict(id=index + 1, file_name=f"{index:02d}.png", width=size, height=size))
        categories = [dict(id=1, name="dark"), dict(id=2, name="light")]
        text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
        (root / f"{split}.json").write_text(text)
    return root


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_config(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny_fcos.py"
    path.write_text(TINY_CONFIG.format(root=tiny_set))
    return path


@pytest.fixture(autouse=True)
def _own_scope() -> Iterator[None]:
    """Each test begins without a default scope, whatever ran before it in this process."""
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def mmdet_scope() -> Iterator[None]:
    """Names without a scope are mmdet's, as under a config with `default_scope = "mmdet"`."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "parity").is_dir():
        pytest.skip("the published cases and data sets are not beside this checkout")
    return SHARED
