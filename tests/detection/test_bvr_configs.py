"""The shipped configs of BVR: published sizes, and a small one that learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from toolkit.cli import run
from toolkit.config import find_config, load_config
from toolkit.inference import load_model
from toolkit.ops import load_mmdet

# Of the published heads; bias of the norms, scales and offset convolutions included.
HEAD_PARAMETERS = {
    "retinanet_r50_bvr_1x_coco": 14_909_946,
    "retinanet_x101_64x4d_dcn_bvr_ms_20e_coco": 14_904_826,
    "fcos_x101_64x4d_dcn_bvr_ms_20e_coco": 9_942_166,
    "atss_x101_64x4d_dcn_bvr_ms_20e_coco": 13_482_638,
}


@pytest.mark.filterwarnings("ignore:DeprecationWarning")
@pytest.mark.parametrize(("name", "parameters"), HEAD_PARAMETERS.items())
def test_the_config_builds_the_published_head_and_its_pipelines(name: str, parameters: int) -> None:
    load_mmdet()
    from mmdet.registry import MODELS, TRANSFORMS

    config = load_config(find_config(f"detection/{name}"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        with torch.device("meta"):
            model = MODELS.build(config.model)
        for loader in (config.train_dataloader, config.test_dataloader):
            for step in loader.dataset.pipeline:
                TRANSFORMS.build(step)
    assert sum(parameter.numel() for parameter in model.bbox_head.parameters()) == parameters
    scales = [step.scale for step in config.train_dataloader.dataset.pipeline if "Resize" in step.type]
    many = "_ms_" in name
    assert scales == ([[(1333, 400), (1333, 1200)]] if many else [(1333, 800)])
    assert config.train_cfg.max_epochs == (20 if many else 12)
    assert config.param_scheduler[-1].milestones == ([16, 19] if many else [8, 11])
    assert config.model.test_cfg.nms.iou_threshold == (0.6 if many else 0.5)


def test_the_small_detector_learns_beside_pictures_without_boxes(tiny_set: Path, tmp_path: Path) -> None:
    """Through the command, on a copy of the tiny set whose first training picture has no boxes; the loss falls."""
    facts = json.loads((tiny_set / "train.json").read_text())
    facts["annotations"] = [a for a in facts["annotations"] if a["image_id"] != 1]
    (tmp_path / "train.json").write_text(json.dumps(facts))
    config = tmp_path / "small.py"
    config.write_text(f"""
_base_ = "{find_config("detection/retinanet_r18_bvr_8e_bccd")}"
classes = ("dark", "light")
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[16, 32, 64]),
    bbox_head=dict(bbox_head=dict(num_classes=2)),
)
train_pipeline = [
    dict(step, scale=(128, 96)) if step["type"] == "Resize" else step for step in _base_.train_pipeline
]
where = dict(metainfo=dict(classes=classes), data_root="{tiny_set}/")
train = dict(
    ann_file="{tmp_path}/train.json", filter_cfg=dict(filter_empty_gt=False), pipeline=train_pipeline
)
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(**train, **where)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=where)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="{tiny_set}/val.json")
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=1))
param_scheduler = []
train_cfg = dict(max_epochs=6, val_interval=6)
""")
    assert run("train", [str(config), "--work-dir", str(tmp_path / "run"), "--seed", "0"]) == 0
    log = [json.loads(line) for path in (tmp_path / "run").glob("*/vis_data/scalars.json") for line in path.open()]
    losses = [line["loss"] for line in log if "loss" in line]
    names = {"loss_cls", "loss_bbox", "loss_keypoint_cls", "loss_keypoint_offset"}
    assert all(names <= line.keys() for line in log if "loss" in line)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    model = load_model(config, tmp_path / "run" / "epoch_6.pth")
    found = model.predict(tiny_set / "val" / "00.png")
    assert len(found.boxes) > 0
    assert set(found.names) <= {"dark", "light"}
