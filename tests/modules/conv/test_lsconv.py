"""ska against a literal loop; LSConv against its formula."""

import time

import pytest
import torch
import torch.nn.functional as F

from toolkit.modules.conv import lsconv
from toolkit.modules.conv.lsconv import LSConv, ska


def looped(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """One number after the other."""
    side = round(weight.shape[2] ** 0.5)
    padded = F.pad(x, (side // 2,) * 4)
    out = torch.zeros_like(x)
    for c in range(x.shape[1]):
        for y in range(x.shape[2]):
            for z in range(x.shape[3]):
                kernel = weight[:, c % weight.shape[1], :, y, z].view(-1, side, side)
                out[:, c, y, z] = (padded[:, c, y : y + side, z : z + side] * kernel).sum((1, 2))
    return out


def unfolded(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """All neighbourhoods at once."""
    side, groups = round(weight.shape[2] ** 0.5), weight.shape[1]
    windows = F.unfold(x, side, padding=side // 2).view(len(x), -1, groups, *weight.shape[2:])
    return (windows * weight.unsqueeze(1)).sum(3).view(x.shape)


def example(channels=6, groups=3, side=3, height=5, width=4, batch=2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(batch, groups, side**2, height, width, generator=generator, dtype=torch.float64)
    return x, weight


SHAPES = [dict(), dict(side=5), dict(side=5, height=3, width=1), dict(side=1), dict(groups=1), dict(groups=6, width=2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_sum_over_the_window(shape: dict):
    x, weight = example(**shape)
    torch.testing.assert_close(ska(x, weight), looped(x, weight))


@pytest.mark.parametrize("shape", [dict(height=3), dict(side=5, channels=2, groups=1, height=3, batch=1)], ids=str)
def test_gradients(shape: dict):
    inputs = [value.requires_grad_() for value in example(**shape)]
    assert torch.autograd.gradcheck(ska, inputs)


def test_a_batch_taken_picture_by_picture_is_the_same(monkeypatch):
    x, weight = example(batch=3)
    with torch.no_grad():
        whole = ska(x, weight)
        monkeypatch.setattr(lsconv, "LARGE", 10)
        assert torch.equal(ska(x, weight), whole)


def test_overwrites_the_weight_only_where_told_and_without_gradient():
    x, weight = example()
    before, expected = weight.clone(), looped(x, weight)
    ska(x, weight, inplace=True)
    with torch.no_grad():
        ska(x, weight)
    assert torch.equal(weight, before)
    with torch.no_grad():
        torch.testing.assert_close(ska(x, weight, inplace=True), expected)


def test_half_precision_is_summed_in_float32():
    x, weight = (value.bfloat16() for value in example(side=5, height=9, width=9))
    assert torch.equal(ska(x, weight), ska(x.float(), weight.float()).bfloat16())


@pytest.mark.parametrize("shape", [(2, 4, 9, 5, 4), (2, 3, 4, 5, 4), (2, 3, 8, 5, 4), (2, 27, 5, 4)], ids=str)
def test_wrong_weights_are_refused(shape: tuple):
    with pytest.raises(ValueError, match="ska: weight must be"):
        ska(torch.randn(2, 6, 5, 4), torch.randn(shape))


def test_layer_is_its_formula():
    torch.manual_seed(0)
    layer, x = LSConv(16).eval(), torch.randn(2, 16, 9, 7)
    for module in layer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    weight = layer.lkp(x)
    assert weight.shape == (2, 2, 9, 9, 7)
    torch.testing.assert_close(weight.mean((2, 3, 4)), torch.zeros(2, 2), atol=1e-5, rtol=0)  # one group is one kernel
    expected = x + layer.bn(unfolded(x, weight))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x), expected)


def test_compiled_training_has_the_same_gradients():
    x, weight = (value.requires_grad_() for value in example())
    expected = torch.autograd.grad(ska(x, weight).square().sum(), (x, weight))
    compiled = torch.compile(ska, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(x, weight).square().sum(), (x, weight))
    torch.compiler.reset()
    torch.testing.assert_close(found, expected)


def test_sees_as_far_as_the_large_kernel():
    torch.manual_seed(0)
    layer, x = LSConv(16).eval(), torch.randn(1, 16, 15, 15, requires_grad=True)
    layer.lkp.norm = torch.nn.Identity()  # it takes in the whole map
    layer(x)[0, :, 7, 7].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[4:11, 4:11].all()
    assert seen.sum() == 49


@pytest.mark.parametrize("args", [dict(in_channels=12), dict(in_channels=16, small_kernel_size=2)], ids=str)
def test_wrong_arguments_are_refused(args: dict):
    with pytest.raises(ValueError, match="LSConv"):
        LSConv(**args)


@pytest.mark.slow
def test_is_five_times_as_fast_as_unfolding():
    x, weight = (value.float() for value in example(64, 8, 3, 28, 28))
    took = {ska: [], unfolded: []}
    with torch.no_grad():
        torch.testing.assert_close(ska(x, weight), unfolded(x, weight), atol=1e-4, rtol=0)
        for _ in range(15):
            for run, times in took.items():
                start = time.process_time()
                for _ in range(10):
                    run(x, weight)
                times.append(time.process_time() - start)
    ours, theirs = (sorted(times)[7] for times in took.values())
    assert theirs > 5 * ours
