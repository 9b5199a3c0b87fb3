"""The shipped segmentation configs: each takes a step and predicts, on ResNet-18 and on a backbone of ours."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData

import toolkit  # noqa: F401
from toolkit.cli import run
from toolkit.config import load_config, load_scope, shipped_configs
from toolkit.inference import load_model

SHIPPED = sorted(name for name in shipped_configs() if name.startswith("segmentation/"))
CONFIGS = [name for name in SHIPPED if name.endswith("camvid")]
SIZE = (64, 64)
TINY = """
_base_ = "{base}/segmentation/unet_r18_60e_camvid.py"
data_root = "{root}/"
classes = dict(classes=("dark", "light"), palette=[(0, 0, 0), (255, 255, 255)])
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=(8, 16, 32, 64), channels=(8, 16, 32)),
    decode_head=dict(in_channels=8, channels=8, num_classes=2),
)
steps = [dict(type="LoadImage"), dict(type="LoadMask"), dict(type="PackSegInputs")]
where = dict(data_root=data_root, metainfo=classes, ignored=(), pipeline=steps)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=where)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=where)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=15, val_interval=15)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=15, T_max=15)]
"""


def batch(classes: int, count: int = 2) -> dict:
    """Pictures whose classes are levels of grey in stripes."""
    from mmseg.structures import SegDataSample

    stripes = torch.arange(SIZE[1]).div(SIZE[1] // classes + 1, rounding_mode="floor").expand(1, *SIZE)
    meta = dict(img_shape=SIZE, ori_shape=SIZE)
    samples = [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=stripes.clone())) for _ in range(count)]
    return dict(inputs=[(stripes * 20).byte().repeat(3, 1, 1) for _ in range(count)], data_samples=samples)


def test_all_are_shipped():
    methods = ("deeplabv3plus", "fcn", "mask2former", "pspnet", "segformer", "unet", "upernet")
    assert {f"segmentation/{method}_r18_60e_camvid" for method in methods} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_brings_the_loss_down_and_every_weight_is_reached(name: str):
    config = load_config(name)
    load_scope(config)
    torch.manual_seed(0)
    network = MODELS.build(config.model)
    assert network.decode_head.num_classes == len(config.train_dataloader.dataset.metainfo.classes)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        data = network.data_preprocessor(batch(11), True)
        loss, _ = network.parse_losses(network.loss(**data))
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0]
    found = network.eval().test_step(batch(11))[0]
    assert found.pred_sem_seg.data.shape == (1, *SIZE)
    assert found.seg_logits.data.shape == (11, *SIZE)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "_r18_" in name and "sfm" not in name])
def test_heads_take_our_backbones(name: str):
    config = load_config(name)
    load_scope(config)
    channels = [40, 80, 160, 320]
    config.model.backbone = dict(type="ConvNeXt", arch="atto", out_indices=(0, 1, 2, 3))
    for part in (config.model.get("neck", {}), config.model.decode_head):
        if part.get("in_channels") == 512:
            part["in_channels"] = channels[-1]
        elif isinstance(part.get("in_channels"), list | tuple):
            part["in_channels"] = channels
        if "c1_in_channels" in part:
            part["c1_in_channels"] = channels[0]
    network = MODELS.build(config.model).eval()
    found = network.test_step(batch(11))[0]
    assert found.seg_logits.data.shape == (11, *SIZE)
    assert found.seg_logits.data.std() > 0


def test_one_learns_through_the_commands(tmp_path: Path):
    """Train U-Net on stripes, measure it, and find the stripes with what it has learnt."""
    palette = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    for part, count in (("train", 8), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(SIZE, np.uint8)
            mask[:, 4 * number : 4 * number + 32] = 1
            cv2.imwrite(str(tmp_path / part / "images" / f"{number}.png"), palette[mask])
            cv2.imwrite(str(tmp_path / part / "masks" / f"{number}.png"), mask)
    config = tmp_path / "tiny.py"
    config.write_text(TINY.format(base=Path("configs").resolve(), root=tmp_path))
    assert run("train", [str(config), "--work-dir", str(tmp_path / "work"), "--device", "cpu"]) == 0
    model = load_model(tmp_path / "work" / "best.pth", device="cpu")
    assert model.classes == ("dark", "light")
    image, mask = (cv2.imread(str(tmp_path / "val" / kind / "1.png")) for kind in ("images", "masks"))
    assert (model.predict(image).mask == mask[..., 0]).mean() > 0.9
