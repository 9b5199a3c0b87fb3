"""Deployed networks give the same outputs, without batch norms."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from toolkit.config import load_config
from toolkit.deploy import deploy
from toolkit.ops import load_mmdet

BN = {"type": "BN"}  # for SyncBN, which a CPU does not run
CONFIGS = {
    "yolo_ms_xs": ("yolo_ms_xs_se_300e_coco", {}),
    "yolov8_ms_n": ("yolov8_ms_n_500e_coco", {}),
    "rtmdet_tiny": (
        "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
        {
            "model.backbone.init_cfg": None,
            **{f"model.{part}.norm_cfg": BN for part in ("backbone", "neck", "bbox_head")},
        },
    ),
    "retinanet_r18": ("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py", {"model.backbone.init_cfg": None}),
}


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A detector whose batch norms are far from the identity."""
    load_mmdet()
    torch.manual_seed(0)
    name, options = CONFIGS[request.param]
    model = MODELS.build(load_config(name, options).model)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def outputs(model: nn.Module) -> list[Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        return tree_leaves(model(torch.randn(1, 3, 128, 160), mode="tensor"))


def test_same_outputs_without_norms_and_once_is_enough(network: nn.Module) -> None:
    expected = outputs(network)
    deployed = deploy(network.train())
    assert not deployed.training
    assert not [module for module in deployed.modules() if isinstance(module, _BatchNorm)]
    for got, want in zip(outputs(deployed), expected, strict=True):
        assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    again = outputs(deploy(deployed))
    assert all(torch.equal(got, want) for got, want in zip(again, outputs(deployed), strict=True))


def test_a_shared_convolution_is_folded_for_each_norm() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, bias=False)
            self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [norm(self.conv(x)) for norm in self.norms]

    model = Shared().eval()
    for scale, norm in zip((0.5, 2.0), model.norms, strict=True):
        norm.weight.data.fill_(scale)
    x = torch.randn(1, 3, 8, 8)
    expected = [value.clone() for value in model(x)]
    for got, want in zip(deploy(model)(x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_norm_that_is_not_alone_in_reading_the_convolution_stays() -> None:
    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    model = Tapped().eval()
    model.norm.running_mean.fill_(0.3)
    x = torch.randn(1, 3, 8, 8)
    expected = model(x).clone()
    torch.testing.assert_close(deploy(model)(x), expected, rtol=1e-4, atol=1e-5)
