"""TVConv: each place with its own kernel, learned and kept; at other sizes refused."""

import time

import pytest
import torch
from mmcv.cnn import build_conv_layer
from torch import Tensor, nn
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.conv.tvconv import TVConv


def lively(layer: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def place_by_place(layer: TVConv, x: Tensor) -> Tensor:
    k, stride = layer.kernel_size[0], layer.stride[0]
    weight = layer.weight_layers(layer.posi_map)[0].view(layer.in_channels, k, k, *layer.size)
    padded = F.pad(x, (k // 2,) * 4)
    y = x.new_zeros(len(x), layer.in_channels, *layer.size)
    for row in range(layer.size[0]):
        for column in range(layer.size[1]):
            window = padded[:, :, stride * row : stride * row + k, stride * column : stride * column + k]
            y[:, :, row, column] = (window * weight[..., row, column]).sum((2, 3))
    return y if layer.bias_layers is None else y + layer.bias_layers(layer.posi_map)


CASES = [
    dict(size=(5, 7)),
    dict(kernel_size=(5, 5), size=(6, 4), bias=True, inter_layers=2),
    dict(stride=2, padding=1, size=(4, 3), bias=True, groups=6),
    dict(kernel_size=1, stride=3, size=(3, 5), inter_layers=0),
]


@pytest.mark.parametrize("args", CASES, ids=str)
def test_each_place_has_its_own_kernel(args: dict):
    layer = lively(TVConv(6, 6, **args)).double()
    x = torch.randn(2, 6, *(side * layer.stride[0] for side in layer.size), dtype=torch.double)
    expected = place_by_place(layer, x)
    torch.testing.assert_close(layer(x), expected)  # windows
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)  # taps
        layer.posi_map.mul_(2)
        torch.testing.assert_close(layer(x), place_by_place(layer, x))


def test_deployed_gives_the_same():
    layer = lively(TVConv(6, 6, size=(5, 7), bias=True)).eval()
    x = torch.randn(2, 6, 5, 7)
    expected = layer(x)
    layer.switch_to_deploy()
    assert not list(layer.parameters())
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), expected)


def test_knows_places_apart_from_the_start():
    torch.manual_seed(0)
    layer = TVConv(4, 4, size=(6, 6)).eval()
    kernel, _ = layer.kernels()
    assert (kernel[..., 0, 0] - kernel[..., 3, 3]).abs().max() > 1e-3


@pytest.mark.parametrize("args", [dict(size=(24, 24), inter_channels=64, inter_layers=3), dict(size=(12, 8), stride=2)])
def test_is_faster_than_the_published_formulation(args: dict):
    layer = TVConv(32, 32, **args).eval()
    x = torch.randn(2, 32, *(side * layer.stride[0] for side in layer.size))

    def published() -> Tensor:
        weight = layer.weight_layers(layer.posi_map).view(1, 32, 9, *layer.size)
        return (F.unfold(x, 3, padding=1, stride=layer.stride).view(2, 32, 9, *layer.size) * weight).sum(2)

    times: dict[str, list[float]] = {"published": [], "ours": []}
    with torch.no_grad():
        torch.testing.assert_close(layer(x), published(), atol=1e-5, rtol=1e-4)
        for _ in range(9):
            for name, run in (("published", published), ("ours", lambda: layer(x))):
                start = time.process_time()
                run()
                times[name].append(time.process_time() - start)
    assert min(times["ours"]) < min(times["published"])  # 0.07 and 0.45 of it on a quiet machine


def test_wrong_use():
    layer = TVConv(4, 4, size=(8, 8), stride=2)
    assert layer(torch.randn(1, 4, 15, 16)).shape == (1, 4, 8, 8)
    with pytest.raises(ValueError, match="TVConv: built for maps that become 8x8 at stride 2, got an input of 14x16"):
        layer(torch.randn(1, 4, 14, 16))
    for name, wrong in dict(kernel_size=4, stride=(1, 2), padding=0, dilation=2, groups=2).items():
        with pytest.raises(ValueError, match=f"TVConv.*{name}"):
            TVConv(4, 4, size=(8, 8), **{name: wrong})
    with pytest.raises(ValueError, match="out_channels"):
        TVConv(4, 8, size=(8, 8))


def test_takes_the_place_of_a_depthwise_convolution():
    layer = build_conv_layer(dict(type="TVConv", size=(8, 8)), 6, 6, 3, stride=2, padding=1, groups=6, bias=False)
    assert layer(torch.randn(1, 6, 16, 16)).shape == (1, 6, 8, 8)
