"""gnConv against its recursion, the global filter against what its spectrum means, both in a ResNet."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

import toolkit  # noqa: F401
from toolkit.modules.conv.gnconv import GlobalFilter, GnConv


def recursion(layer: GnConv, x: torch.Tensor) -> torch.Tensor:
    """The paper's equation, a gate after the other."""
    channels = x.shape[1]
    widths = [channels // 2**i for i in range(layer.proj_in.out_channels)][: len(layer.pws) + 1][::-1]
    y = layer.proj_in(x)
    x, rest = y[:, : widths[0]], y[:, widths[0] :]
    gates, start = layer.dwconv(rest), 0
    for i, width in enumerate(widths):
        x = layer.pws[i - 1](x) if i else x
        x = x * gates[:, start : start + width] / 3
        start += width
    return layer.proj_out(x)


@pytest.mark.parametrize("spectrum_size", [None, (14, 8)])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_is_the_recursion(order: int, spectrum_size: tuple | None):
    torch.manual_seed(0)
    channels = 32 if order > 1 else 30
    layer, x = GnConv(channels, order, spectrum_size=spectrum_size), torch.randn(2, channels, 10, 12)
    torch.testing.assert_close(layer(x), recursion(layer, x))


@pytest.mark.parametrize("spectrum_size", [None, (14, 8)])
def test_inference_form_is_equal(spectrum_size: tuple | None):
    torch.manual_seed(0)
    layer, x = GnConv(32, 3, spectrum_size=spectrum_size), torch.randn(2, 32, 10, 12)
    expected = layer(x)
    layer.switch_to_deploy()
    layer.switch_to_deploy()
    assert layer.scale == 1
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def filtered(layer: GlobalFilter, x: torch.Tensor) -> torch.Tensor:
    """What the filter alone makes of the far half: all else is the identity."""
    with torch.no_grad():
        return layer._filter(x)


@pytest.mark.parametrize("size", [(14, 14), (9, 13), (1, 1), (4, 30)], ids=str)
def test_a_map_of_ones_changes_nothing_at_any_size(size: tuple):
    layer = GlobalFilter(8, (14, 8))
    with torch.no_grad():
        layer.complex_weight.copy_(torch.tensor([1.0, 0.0]).expand_as(layer.complex_weight))
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(filtered(layer, x), x, atol=1e-5, rtol=0)


def test_filter_is_a_convolution_round_the_map():
    torch.manual_seed(0)
    layer, x = GlobalFilter(8, (10, 7)), torch.randn(1, 4, 10, 12)
    shifted = filtered(layer, x.roll((3, 5), (2, 3)))
    torch.testing.assert_close(shifted, filtered(layer, x).roll((3, 5), (2, 3)), atol=1e-5, rtol=0)


def test_halves_are_interleaved():
    torch.manual_seed(0)
    layer, x = GlobalFilter(8, (5, 3)), torch.randn(1, 8, 5, 5)
    layer.pre_norm = layer.post_norm = torch.nn.Identity()
    out = layer(x)
    torch.testing.assert_close(out[:, 0::2], layer.dw(x[:, :4]))
    torch.testing.assert_close(out[:, 1::2], filtered(layer, x[:, 4:]))


def test_a_checkpoint_of_another_spectrum_acts_as_its_resized_self():
    torch.manual_seed(0)
    small, large = GlobalFilter(8, (7, 4)), GlobalFilter(8, (12, 7))
    large.load_state_dict(small.state_dict())
    x = torch.randn(1, 8, 12, 12)  # its spectrum has the size of the large map
    torch.testing.assert_close(large(x), small(x))


@pytest.mark.parametrize(("args", "name"), [((30, 3), "gnConv"), ((32, 0), "gnConv")])
def test_wrong_arguments_are_refused(args: tuple, name: str):
    with pytest.raises(ValueError, match=name):
        GnConv(*args)
    with pytest.raises(ValueError, match="GlobalFilter"):
        GlobalFilter(7)


@pytest.mark.parametrize("name", ["gnConv", "LSConv", "DilatedReparamBlock"])
def test_plugs_into_a_resnet(name: str):
    from toolkit.ops import load_mmdet

    load_mmdet()
    plugin = dict(cfg=dict(type=name), stages=(False, True, True, False), position="after_conv2")
    resnet = dict(type="ResNet", depth=50, base_channels=16, plugins=[plugin])
    with DefaultScope.overwrite_default_scope("mmdet"):
        torch.manual_seed(0)
        plugged, plain = MODELS.build(resnet), MODELS.build(dict(resnet, plugins=None))
    plugged.eval()
    plain.eval()
    plain.load_state_dict(plugged.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        same, *others = ((a - b).abs().max() == 0 for a, b in zip(plugged(x), plain(x), strict=True))
    assert same
    assert not any(others)
