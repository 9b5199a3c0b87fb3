"""Dcls: equality with the definition, gradients, positions, windows, plain convolutions."""

import copy
import itertools
import math
import time

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.conv.dcls import Dcls1d, Dcls2d, Dcls3d, construct_kernel
from toolkit.ops import load_mmdet


def definition(weight: Tensor, P: Tensor, SIG: Tensor, size: tuple[int, ...], version: str) -> Tensor:
    """Cell by cell and point by point."""
    dims = len(size)
    kernel = torch.zeros(*weight.shape[:2], *size, dtype=weight.dtype)
    moved = {"v0": {1: (0,), 2: (0, 1), 3: (0, 2, 1)}}.get(version, {}).get(dims, tuple(range(dims))[::-1])
    for o, i, n in itertools.product(*map(range, weight.shape)):
        values = {}
        for cell in itertools.product(*map(range, size)):
            value = 1.0
            for axis, j in enumerate(moved):
                d = cell[axis] - (P[j, o, i, n].item() + size[j] // 2)
                s = abs(SIG[j, o, i, n].item())
                if version == "gauss":
                    value *= math.exp(-0.5 * (d / (0.27 + s)) ** 2)
                else:
                    value *= max(0.0, 1 + (s if version == "max" else 0.0) - abs(d))
            values[cell] = value
        total = 1.0 if version == "v0" else sum(values.values()) + 1e-7
        for cell, value in values.items():
            kernel[(o, i, *cell)] += weight[o, i, n] * value / total
    return kernel


@pytest.mark.parametrize("version", ["v0", "v1", "max", "gauss"])
@pytest.mark.parametrize("size", [(6,), (5, 7), (3, 4, 5)], ids=str)
def test_kernel_is_the_definition(size: tuple[int, ...], version: str):
    torch.manual_seed(0)
    weight = torch.randn(2, 3, 4, dtype=torch.double)
    P, SIG = (2 * torch.randn(len(size), 2, 3, 4, dtype=torch.double) for _ in range(2))
    for positions, side in zip(P, size, strict=True):
        positions.clamp_(-(side // 2), side // 2)
    ours = construct_kernel(weight, P, SIG, size, version)
    torch.testing.assert_close(ours, definition(weight, P, SIG, size, version), atol=1e-12, rtol=0)


@pytest.mark.parametrize("version", ["v0", "v1", "max", "gauss"])
def test_gradients(version: str):
    torch.manual_seed(0)
    weight = torch.randn(2, 1, 3, dtype=torch.double, requires_grad=True)
    P, SIG = (torch.rand(2, 2, 1, 3, dtype=torch.double).add_(0.1).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda *args: construct_kernel(*args, (5, 7), version), (weight, P, SIG))


def test_positions_learn_where_the_weight_belongs():
    torch.manual_seed(0)
    target = torch.zeros(1, 1, 9, 9)
    target[0, 0, 2, 6] = 1.0
    layer = Dcls2d(1, 1, 9, padding=4, bias=False, kernel_count=1, version="gauss")
    with torch.no_grad():
        layer.SIG.fill_(1.5)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (layer.dense_kernel() - target).square().sum().backward()
        optimizer.step()
        layer.clamp_parameters()
    torch.testing.assert_close(layer.P.flatten(), torch.tensor([2.0, -2.0]), atol=0.1, rtol=0)  # right, up


def test_positions_come_back_into_the_window():
    layer = Dcls2d(2, 2, (5, 9), kernel_count=3)
    nn.init.constant_(layer.P, 7.0)
    layer.clamp_parameters()
    assert layer.P[0].unique().tolist() == [2.0]
    assert layer.P[1].unique().tolist() == [4.0]


@pytest.mark.parametrize("cls", [Dcls1d, Dcls2d, Dcls3d])
@pytest.mark.parametrize("version", ["v1", "gauss"])
def test_deployed_is_a_plain_convolution_with_equal_outputs(cls: type, version: str):
    torch.manual_seed(0)
    layer = cls(4, 6, 5, 2, 2, 1, 2, padding_mode="circular", kernel_count=4, version=version).eval()
    x = torch.randn(2, 4, *[9] * layer.DIMS)
    expected = layer(x)
    layer.switch_to_deploy()
    assert type(layer) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    assert set(layer.state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)


def test_folds_into_its_norm_when_deployed():
    from toolkit.deploy import deploy

    torch.manual_seed(0)
    net = ConvModule(4, 8, 3, padding=1, conv_cfg=dict(type="Dcls2d", dilated_kernel_size=7), norm_cfg=dict(type="BN"))
    nn.init.uniform_(net.bn.running_mean)
    x = torch.randn(2, 4, 9, 9)
    expected = net.eval()(x)
    torch.testing.assert_close(deploy(net)(x), expected, atol=1e-5, rtol=1e-4)
    assert sum(value.numel() for value in net.state_dict().values()) == 8 * 4 * 49 + 8


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_larger_window_keeps_the_outputs_size(stride: int, dilation: int):
    plain = nn.Conv2d(4, 8, 3, stride, dilation, dilation)
    layer = Dcls2d(4, 8, 3, stride, dilation, dilation, dilated_kernel_size=(9, 7))
    assert layer.weight.numel() == plain.weight.numel()
    x = torch.randn(1, 4, 24, 21)
    assert layer(x).shape == plain(x).shape


def test_resnet_of_it_learns():
    load_mmdet()
    torch.manual_seed(0)
    args = dict(depth=18, base_channels=8, stem_channels=8, zero_init_residual=False)
    net = MODELS.build(dict(type="mmdet.ResNet", conv_cfg=dict(type="Dcls2d", version="gauss"), **args))
    net.init_weights()
    net.train()
    sum(out.square().mean() for out in net(torch.randn(2, 3, 32, 32))).backward()
    layers = [module for module in net.modules() if isinstance(module, Dcls2d)]
    assert len(layers) == 20
    assert all(layer.P.grad.abs().sum() > 0 for layer in layers if layer.kernel_size != (1, 1))


def test_is_faster_than_the_published_formulation():
    torch.manual_seed(0)
    layer = Dcls2d(96, 96, 17, padding=8, groups=96, kernel_count=34)
    grid = torch.stack(torch.meshgrid(torch.arange(17.0), torch.arange(17.0), indexing="xy"))

    def published() -> Tensor:  # all cells for all points
        offsets = grid.view(2, 1, 1, 1, 17, 17) - (layer.P + 8)[..., None, None]
        values = (1 - offsets.abs()).relu().prod(0)
        values = values / (values.sum((-1, -2), keepdim=True) + 1e-7)
        return (values * layer.weight[..., None, None]).sum(2)

    with torch.no_grad():
        torch.testing.assert_close(layer.dense_kernel(), published(), atol=1e-6, rtol=0)
        times = {published: [], layer.dense_kernel: []}
        for run, found in 7 * list(times.items()):
            start = time.process_time()
            run()
            found.append(time.process_time() - start)
    theirs, ours = (min(found) for found in times.values())
    assert ours < 0.5 * theirs  # a tenth on a quiet machine


def test_wrong_use():
    with pytest.raises(ValueError, match="version must be one of v0, v1, max, gauss, got 'v2'"):
        Dcls2d(4, 4, 3, version="v2")
    with pytest.raises(ValueError, match="even numbers"):
        Dcls2d(4, 4, 3, dilated_kernel_size=6)
    with pytest.raises(ValueError, match="even numbers"):
        Dcls1d(4, 4, 5, dilated_kernel_size=3)
    with pytest.raises(ValueError, match="divisible by groups"):
        Dcls2d(4, 4, 3, groups=3)


def test_same_padding():
    x = torch.randn(1, 2, 8, 9)
    layer = Dcls2d(2, 2, 3, padding="same", dilated_kernel_size=5)
    expected = F.conv2d(x, layer.dense_kernel(), layer.bias, padding=2)
    torch.testing.assert_close(layer(x), expected)
