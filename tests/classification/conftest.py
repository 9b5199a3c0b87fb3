"""Pictures of two classes that a glance tells apart, and a tiny classifier of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

CONFIG = """
_base_ = ["{base}"]
model = dict(
    type="ImageClassifier",
    backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(3,), norm_eval=False),
    head=dict(type="LinearHead", num_classes=3, label_smoothing=0.1),
    mixup=0.2,
)
data_root = "{root}/"
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="RandomResizedCrop", size=32, area=(0.5, 1.0)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackClass"),
]
test_pipeline = [dict(type="LoadImage"), dict(type="Resize", scale=(32, 32)), dict(type="PackClass")]
where = dict(type="FolderClassification", data_root=data_root)
train_dataloader = dict(
    batch_size=8, num_workers=0, dataset=dict(part="train", pipeline=train_pipeline, **where),
)
val_dataloader = dict(num_workers=0, dataset=dict(part="val", pipeline=test_pipeline, **where))
test_dataloader = val_dataloader
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=3)
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=3)]
optim_wrapper = dict(optimizer=dict(lr=5e-3))
auto_scale_lr = dict(base_batch_size=8)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.05, gamma=10, update_buffers=True, priority=49)
]
"""
BASE = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "classification.py"
LEVELS = {"bright": 200, "dark": 50, "grey": 125}


def write_classes(root: Path, count: int, seed: int = 0) -> Path:
    """`count` noisy pictures of each level of brightness, of several sizes."""
    rng = np.random.default_rng(seed)
    for name, level in LEVELS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            size = (40 + number % 3, 48, 3)
            picture = (level + rng.integers(-30, 30, size)).astype(np.uint8)
            cv2.imwrite(str(root / name / f"{number:02d}.png"), picture)
    return root


@pytest.fixture(scope="session")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes"), 10)


@pytest.fixture(scope="session")
def classifier_config(brightness: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny_classifier.py"
    path.write_text(CONFIG.format(root=brightness, base=BASE))
    return path
