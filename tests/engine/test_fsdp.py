"""A smoke test of fully sharded training on two CPU processes."""

import subprocess
import sys
from pathlib import Path

import torch

from toolkit.checkpoint import load_checkpoint
from toolkit.config import config_root

TOOLS = Path(__file__).resolve().parents[2] / "tools"

CONFIG = """
_base_ = ["{tiny}", "{fsdp}"]
custom_hooks = []
strategy = dict(model_wrapper=dict(auto_wrap_policy=dict(min_num_params=1000)))
train_cfg = dict(max_epochs=1)
# FSDP takes no scalar parameters, such as the scales of FCOS
model = dict(
    type="RetinaNet",
    bbox_head=dict(
        _delete_=True, type="RetinaHead", num_classes=2, in_channels=16, stacked_convs=1, feat_channels=16,
        anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[1.0], strides=[8, 16, 32]),
        loss_bbox=dict(type="L1Loss"),
    ),
    train_cfg=dict(
        assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1, debug=False,
    ),
)
"""


def test_two_sharded_processes_train_and_save_a_whole_checkpoint(tiny_config: Path, tmp_path: Path) -> None:
    config = tmp_path / "fsdp.py"
    config.write_text(CONFIG.format(tiny=tiny_config, fsdp=config_root() / "_base_" / "schedules" / "fsdp.py"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29534"]
    argv = [str(config), "--launcher", "pytorch", "--work-dir", str(tmp_path / "run")]
    done = subprocess.run([*launcher, str(TOOLS / "train.py"), *argv], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    state = load_checkpoint(tmp_path / "run" / "epoch_1.pth")["state_dict"]
    assert state["bbox_head.retina_cls.weight"].shape == (2, 16, 3, 3)
    assert state["backbone.conv1.weight"].shape == (8, 3, 7, 7)
    assert all(torch.isfinite(value).all() for value in state.values())
