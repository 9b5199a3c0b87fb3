"""The shipped configs of SEPC: published sizes and weights, and a step on a tiny set."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from toolkit.checkpoint import load_checkpoint
from toolkit.commands.train import main
from toolkit.config import find_config
from toolkit.ops import load_mmdet
from toolkit.published import convert

NECK = {"pconv": 8_261_120, "ibn": 8_264_192, "lite": 8_347_172, "full": 8_845_052}
FPN_R50 = 7_997_440  # lateral, output and two extra convolutions
RESNET50 = 23_508_032
LAST = {"retinanet": 9 * 84, "freeanchor": 9 * 84, "fsaf": 84}  # channels of the last convolutions


def build(name: str) -> tuple[Config, nn.Module]:
    """A shipped config and its model without weights."""
    load_mmdet()
    from mmdet.registry import MODELS

    config = Config.fromfile(find_config(f"detection/{name}"))
    with DefaultScope.overwrite_default_scope("mmdet"), torch.device("meta"):
        return config, MODELS.build(config.model)


@pytest.mark.parametrize("variant", NECK)
@pytest.mark.parametrize("head", LAST)
def test_published_recipes_build_and_have_the_published_size(head: str, variant: str) -> None:
    load_mmdet()
    from mmdet.registry import TRANSFORMS

    config, model = build(f"{head}_r50_sepc_{variant}_1x_coco")
    last = LAST[head] * (256 * 9 + 1)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == RESNET50 + FPN_R50 + NECK[variant] + last
    assert config.train_dataloader.batch_size == (2 if variant == "pconv" else 4)
    assert config.optim_wrapper.clip_grad.max_norm == (10 if head == "fsaf" else 35)
    assert [s.get("start_factor") for s in config.param_scheduler] == [1 / 3, None]
    assert config.model.neck[1].last_padding == 0
    for step in (*config.train_dataloader.dataset.pipeline, *config.test_dataloader.dataset.pipeline):
        TRANSFORMS.build(step)


def published_name(key: str) -> str:
    """Our key of a detector as the published checkpoints have it."""
    for ours, theirs in (
        ("neck.1.pconvs.", "neck.1.Pconvs."),
        (".convs.", ".Pconv."),
        (".bn.norm.", ".bn."),
        ("last_convs.cls", "cconv"),
        ("last_convs.box", "lconv"),
        ("last_norms.cls.norm", "cbn"),
        ("last_norms.box.norm", "lbn"),
    ):
        key = key.replace(ours, theirs) if key.startswith("neck.1.") else key
    return key


@pytest.mark.parametrize("name", ["retinanet_r50_sepc_full", "freeanchor_r50_sepc_lite", "fsaf_r50_sepc_pconv"])
def test_whole_published_checkpoints_find_their_places(name: str) -> None:
    model = build(f"{name}_1x_coco")[1]
    state = {published_name(key): value for key, value in model.state_dict().items()}
    assert any(key.startswith("neck.1.Pconvs.3.Pconv.2.") for key in state)
    assert any(key.startswith("bbox_head.retina_cls.") for key in state)
    converted = convert(state, model)
    assert converted.complete
    assert converted.recognised == "SEPC"
    assert set(converted.state_dict) == set(model.state_dict())


@pytest.mark.parametrize("neck", ["", "sepclite_", "sepc_"])
def test_the_small_ones_learn_and_predict(neck: str, tiny_set: Path, tmp_path: Path) -> None:
    head = "dict(bbox_head=dict(num_classes=2))" if neck else "dict(num_classes=2)"
    config = tmp_path / "tiny.py"
    config.write_text(
        f"""
_base_ = {str(find_config(f"detection/retinanet_r18_{neck}8e_bccd"))!r}
model = dict(bbox_head={head})
where = dict(data_root={str(tiny_set)!r}, metainfo=dict(classes=("dark", "light")), indices=2)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=where)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=where)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={str(tiny_set / "val.json")!r})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
"""
    )
    assert main([str(config), "--work-dir", str(tmp_path / "run")]) == 0
    state = load_checkpoint(tmp_path / "run" / "epoch_1.pth")["state_dict"]
    assert all(value.isfinite().all() for value in state.values())
