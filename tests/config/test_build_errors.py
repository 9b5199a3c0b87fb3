from pathlib import Path

import pytest
from mmengine.registry import MODELS

from toolkit.config import config_errors, load_config
from toolkit.errors import UserError
from toolkit.ops import load_mmdet


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.neck.type", "FPNN", "model.neck.type: 'FPNN' is not registered; did you mean .*'FPN'"),
        ("model.type", "fcos", "model.type: 'fcos' is not registered; did you mean 'FCOS'"),
        ("model.backbone.in_chanels", 3, "model.backbone.in_chanels: ResNet takes no .*did you mean 'in_channels'"),
        ("model.bbox_head.loss_cls.alfa", 1, "model.bbox_head.loss_cls.alfa: FocalLoss .*did you mean 'alpha'"),
        ("model.backbone.norm_cfg.type", "BNN", "model.backbone.norm_cfg.type: 'BNN' is not registered"),
        ("model.backbone.norm_cfg.epsilon", 1, "model.backbone.norm_cfg.epsilon: BatchNorm2d takes no 'epsilon'"),
        ("model.backbone.depth", 51, "model.backbone: ResNet: invalid depth 51"),
    ],
)
def test_what_cannot_be_built_is_named_by_its_key(tiny_config: Path, key: str, value: object, message: str):
    load_mmdet()
    config = load_config(tiny_config)
    config.merge_from_dict({key: value})
    for copied in (False, True):  # a Runner builds from a deep copy
        model = config.copy().model if copied else config.model
        with pytest.raises(UserError, match=message), config_errors(config):
            MODELS.build(model)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("depth", "model.backbone: ResNet needs 'depth'"),
        ("type", "model.backbone: has no 'type'"),
    ],
)
def test_what_is_missing_is_named(tiny_config: Path, gone: str, message: str):
    load_mmdet()
    config = load_config(tiny_config)
    del config.model.backbone[gone]
    with pytest.raises(UserError, match=message), config_errors(config):
        MODELS.build(config.model)


def test_errors_that_are_not_the_configs_pass_through():
    with pytest.raises(ZeroDivisionError), config_errors({"model": {}}):
        _ = 1 / 0
