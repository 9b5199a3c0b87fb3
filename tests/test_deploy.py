import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolkit import deploy as deploy_module
from toolkit.config import load_config
from toolkit.deploy import InferenceConv2d, deploy
from toolkit.inference import load_model
from toolkit.ops import load_mmdet
from toolkit.timing import deviation

CPU_KERNELS = torch.backends.mkldnn.is_available()


def randomise(model: nn.Module) -> nn.Module:
    """Batch norms that are far from the identity; fresh ones would hide a wrong fold."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def run(model: nn.Module, *args: Tensor, **kwargs: str) -> object:
    with torch.no_grad():
        return model(*args, **kwargs)


@pytest.mark.parametrize(
    "name",
    [
        "yolo_ms_xs_300e_coco",  # batch norms of each level's own on shared convolutions
        "yolov8_ms_n_500e_coco",
        "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",  # SyncBN
        "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",  # conv1, bn1 as attributes
    ],
)
@pytest.mark.parametrize("threshold", [1, 10**9], ids=["winograd", "plain"])
def test_detectors_give_equal_outputs_without_norms(name: str, threshold: int, monkeypatch: pytest.MonkeyPatch):
    load_mmdet()
    monkeypatch.setattr(deploy_module, "WINOGRAD_AREA", threshold)
    model = randomise(MODELS.build(load_config(name).model))
    picture = torch.randn(2, 3, 128, 96)
    expected = run(model, picture, mode="tensor")
    assert deviation(run(deploy(model), picture, mode="tensor"), expected) < 1e-4
    assert count_norms(model) == 0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    again = deploy(model).state_dict()
    assert before.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in before.items())


class Shared(nn.Module):
    """One convolution under two norms, in two blocks."""

    def __init__(self):
        super().__init__()
        self.first = ConvModule(4, 4, 3, padding=1, norm_cfg=dict(type="BN"))
        self.second = ConvModule(4, 4, 3, padding=1, norm_cfg=dict(type="BN"))
        self.second.conv = self.first.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) - self.second(x)


def test_a_shared_convolution_is_copied_for_each_norm():
    model = randomise(Shared())
    x = torch.randn(1, 4, 9, 7)
    expected = run(model, x)
    deploy(model)
    torch.testing.assert_close(run(model, x), expected)
    assert model.first.conv is not model.second.conv
    assert count_norms(model) == 0


class Block(nn.Module):
    """A convolution and norms with the names of a foldable pair; subclasses use them otherwise."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)


class NormFirst(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv1(self.bn1(x)).relu())


class Skip(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        return self.bn1(y) + self.bn2(x) + y


class TwoNorms(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x)) * self.bn2(self.conv1(x * 2))


class ByInput(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        return self.bn1(y) if x.mean() > 0 else self.bn2(y)


class Weights(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x)) + self.bn2(x) * self.conv1.weight.sum()


class Cached(Block):
    cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.cache = self.conv1(x)
        return self.bn2(self.bn1(x)) + self.cache


@pytest.mark.parametrize("kind", [NormFirst, Skip, TwoNorms, ByInput, Weights, Cached])
def test_what_only_looks_like_a_pair_is_not_folded(kind: type[nn.Module]):
    model = randomise(kind())
    inputs = [torch.rand(1, 4, 8, 8), -torch.rand(1, 4, 8, 8)]
    expected = [run(model, x) for x in inputs]
    deploy(model)
    assert count_norms(model) == 2
    if kind is Cached:
        assert model.cache is None or isinstance(model.cache, Tensor)
    for x, y in zip(inputs, expected, strict=True):
        torch.testing.assert_close(run(model, x), y)


def test_a_training_model_is_put_into_evaluation_mode():
    model = randomise(nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.ReLU()))
    x = torch.randn(2, 3, 9, 9)
    expected = run(model, x)
    result = deploy(model.train())
    assert result is model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(model(x), expected)


class Reparameterised(nn.Module):
    """Two branches that its own hook joins into one."""

    deploy = False  # a flag, as published blocks have; not a hook

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(2))

    def switch_to_deploy(self) -> None:
        one, two = self.branches
        one.weight.data += two.weight.data
        one.bias.data += two.bias.data
        del self.branches[1]

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


def test_a_modules_own_hook_is_called():
    model = nn.Sequential(Reparameterised(), nn.BatchNorm2d(4))
    x = torch.randn(1, 4, 6, 6)
    expected = run(randomise(model), x)
    torch.testing.assert_close(run(deploy(model), x), expected)
    assert len(model[0].branches) == 1


def test_a_hooked_convolution_is_left_alone():
    model = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(1, 3, 8, 8)
    expected = run(model, x)
    torch.testing.assert_close(run(deploy(model), x), expected)
    assert len(seen) == 2


@pytest.mark.skipif(not CPU_KERNELS, reason="this torch has no oneDNN")
class TestInferenceConv2d:
    @pytest.mark.parametrize("options", [dict(padding=1), dict(stride=2), dict(groups=64), dict(dilation=2, padding=1)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_equals_the_plain_convolution(self, options: dict, bias: bool):
        torch.manual_seed(0)
        plain = nn.Conv2d(64, 64, 3, bias=bias, **options)
        for shape in ((1, 64, 30, 31), (3, 64, 9, 8), (64, 9, 9), (0, 64, 9, 9)):
            x = torch.randn(shape)
            expected = run(plain, x)
            found = run(InferenceConv2d.of(plain), x)
            assert found.shape == expected.shape
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    def test_takes_other_dtypes_autocast_and_compilation(self):
        torch.manual_seed(0)
        plain = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
        conv, x = InferenceConv2d.of(plain), torch.randn(1, 64, 30, 30)
        torch.testing.assert_close(copy.deepcopy(conv).double()(x.double()), copy.deepcopy(plain).double()(x.double()))
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16
        exported = torch.export.export(conv, (x,)).module()
        torch.testing.assert_close(exported(x), plain(x), atol=1e-4, rtol=0)

    def test_places_that_share_a_convolution_still_do(self):
        conv = nn.Conv2d(3, 3, 1)
        model = nn.Sequential(conv, nn.ReLU(), conv)
        deploy(model)
        assert isinstance(model[0], InferenceConv2d)
        assert model[0] is model[2]


def test_load_model_deploys_on_request(tiny_config: Path):
    plain, deployed = (load_model(tiny_config, device="cpu", deploy=flag) for flag in (False, True))
    assert count_norms(plain.network) > 0
    assert count_norms(deployed.network) == 0
    assert len(deployed.predict(np.zeros((64, 64, 3), np.uint8)).boxes) <= 20
