"""The shipped RetinaNets over each backbone: every map has the stride of its anchors, and every weight learns."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

import toolkit  # noqa: F401
from toolkit.config import load_config, load_scope, shipped_configs

CONFIGS = [name for name in sorted(shipped_configs()) if name.startswith("detection/retinanet") and "1x_coco" in name]
PLAIN = [name for name in CONFIGS if "sepc" not in name and "bvr" not in name]
SIZE = (64, 96)


@pytest.mark.parametrize("name", PLAIN)
def test_maps_fit_the_anchors_and_every_weight_is_reached(name: str):
    from mmdet.structures import DetDataSample

    config = load_config(name)
    load_scope(config)
    torch.manual_seed(0)
    network = MODELS.build(config.model)
    sample = DetDataSample(metainfo=dict(img_shape=SIZE, pad_shape=SIZE))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([3]))
    pictures = torch.randn(2, 3, *SIZE)
    maps = network.extract_feat(pictures)
    for one, (stride, _) in zip(maps, network.bbox_head.prior_generator.strides, strict=True):
        assert tuple(one.shape[2:]) == tuple(-(-side // stride) for side in SIZE)
    loss, _ = network.parse_losses(network.bbox_head.loss(maps, [sample] * 2))
    loss.backward()
    assert loss.isfinite()
    held = {key for key, value in network.named_parameters() if value.requires_grad and value.grad is None}
    assert not held
