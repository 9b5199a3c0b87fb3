"""UniRepLKNet: published sizes, its response norm, its merged form."""

import copy
import time

import pytest
import torch
from torch import nn

from toolkit.backbones.unireplknet import GRN, UniRepLKNet
from toolkit.deploy import deploy

SMALL = dict(dims=(8, 16, 24, 32), kernel_sizes=((3,), (13, 5), (13, 7), (9,)))


def lively(arch: str | dict = SMALL, **args) -> UniRepLKNet:
    torch.manual_seed(0)
    model = UniRepLKNet(arch, **args).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(torch.randn_like(value) * (0.5 if "gamma" in name else 0.05))
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.1)
    return model


@pytest.mark.parametrize(
    ("arch", "trained", "merged"),
    [
        ("a", 4649060, 4437300), ("n", None, 18.3), ("t", 31693420, 31.0),
        ("s", None, 55.6),
    ],
)  # fmt: skip
def test_has_the_published_parameters(arch: str, trained: int | None, merged: float):
    def count(model: nn.Module) -> int:
        return sum(value.numel() for value in model.parameters())

    with torch.device("meta"):
        model = UniRepLKNet(arch, num_classes=1000)
        before = count(model)
        model.switch_to_deploy()
    assert trained in (None, before)
    assert count(model) == merged or count(model) / 1e6 == pytest.approx(merged, abs=0.05)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="UniRepLKNet: arch must be among a, f"):
        UniRepLKNet("xxl")
    with pytest.raises(ValueError, match="kernel_size must be one of"):
        UniRepLKNet(dict(SMALL, kernel_sizes=((3,), (6,), (3,), (3,))))


def test_response_norm_is_its_formula():
    torch.manual_seed(0)
    norm, x = GRN(5), torch.randn(2, 4, 3, 5)
    for value in norm.parameters():
        nn.init.normal_(value)
    size = x.norm(dim=(1, 2), keepdim=True)
    expected = x + norm.gamma * x * size / (size.mean(-1, keepdim=True) + 1e-6) + norm.beta
    torch.testing.assert_close(norm(x), expected)


def test_response_norm_learns_from_dead_channels():
    norm, x = GRN(5), torch.zeros(1, 3, 3, 5, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("num_classes", [None, 7])
def test_merged_form_is_equal(num_classes: int | None):
    model, x = lively(num_classes=num_classes), torch.randn(2, 3, 96, 64)
    merged = copy.deepcopy(model)
    merged.switch_to_deploy()
    merged.switch_to_deploy()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    loaded = UniRepLKNet(SMALL, num_classes=num_classes, deploy=True).eval()
    loaded.load_state_dict(merged.state_dict())

    def maps(net: nn.Module) -> list[torch.Tensor]:
        found = net(x)
        return [found] if num_classes else list(found)

    with torch.no_grad():
        expected = maps(model)
        for found in (maps(merged), maps(loaded), maps(deploy(copy.deepcopy(model)))):
            for one, other in zip(found, expected, strict=True):
                assert (one - other).abs().max() < 1e-4 * other.abs().max()
    for one, other in zip(maps(merged), expected, strict=True):  # with gradients, by torch's own products
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_merged_form_compiles_whole():
    model, x = lively(num_classes=7, deploy=True), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))
    torch.compiler.reset()


@pytest.mark.slow
def test_merged_form_is_faster():
    model, x = lively("a"), torch.randn(2, 3, 224, 224)
    merged = copy.deepcopy(model)
    merged.switch_to_deploy()
    took = {model: [], merged: []}
    with torch.no_grad():
        for _ in range(11):
            for net, times in took.items():
                start = time.process_time()
                net(x)
                times.append(time.process_time() - start)
    before, after = (sorted(times)[5] for times in took.values())
    assert before > 1.2 * after
