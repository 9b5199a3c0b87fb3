"""The frequency filter against complex arithmetic, and what it is: a convolution as large as the map."""

import pytest
import torch
from mmdet.models import ResNet
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.mixer.aff import AFFBlock, AFFFilter, ChannelNorm, FilterBlock


def lively(channels: int = 8, blocks: int = 2, **args) -> AFFFilter:
    torch.manual_seed(0)
    module = AFFFilter(channels, blocks, **args).double()
    with torch.no_grad():
        for value in module.parameters():
            value.normal_(std=0.5)
    return module


def masks(module: AFFFilter, spectrum: torch.Tensor) -> torch.Tensor:
    """The mask of spectra (B, C, H, W), frequency by frequency, in complex numbers."""
    w1, w2 = torch.complex(*module.w1), torch.complex(*module.w2)  # (blocks, in, out)
    b1, b2 = torch.complex(*module.b1), torch.complex(*module.b2)
    width, out = w1.shape[1], torch.empty_like(spectrum)
    for block in range(module.num_blocks):
        mine = slice(block * width, (block + 1) * width)
        for b, y, x in torch.cartesian_prod(*(torch.arange(spectrum.shape[i]) for i in (0, 2, 3))).tolist():
            hidden = spectrum[b, mine, y, x] @ w1[block] + b1[block]
            hidden = torch.complex(module.act(hidden.real), module.act(hidden.imag))
            mask = hidden @ w2[block] + b2[block]
            shrunk = [
                part.sign() * (part.abs() - module.sparsity_threshold).clamp(min=0) for part in (mask.real, mask.imag)
            ]
            out[b, mine, y, x] = torch.complex(*shrunk)
    return out


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("act", ["relu", "swish"])
def test_equals_complex_arithmetic_frequency_by_frequency(size: tuple[int, int], act: str):
    module = lively(act=act, sparsity_threshold=0.3)
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    spectrum = torch.fft.rfft2(x, norm="ortho")
    expected = torch.fft.irfft2(masks(module, spectrum) * spectrum, s=size, norm="ortho") + x
    torch.testing.assert_close(module(x), expected)


def test_a_mask_of_one_value_scales_the_channel():
    module = lively(4, 1, sparsity_threshold=0.0)
    with torch.no_grad():
        module.w2.zero_()  # the mask is b2 at every frequency
        module.b2[1].zero_()
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(module(x), x * (1 + module.b2[0, 0].view(4, 1, 1)))


def test_moving_the_picture_round_moves_the_output():
    module = lively(4, 1)
    with torch.no_grad():
        module.w2.zero_()  # else the mask would see where the picture lies
    x = torch.randn(1, 4, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(module(x.roll((2, 3), (2, 3))), module(x).roll((2, 3), (2, 3)))


def test_one_pixel_reaches_every_other():
    module, x = lively(), torch.randn(1, 8, 6, 7, dtype=torch.float64)
    moved = x.clone()
    moved[0, 0, 0, 0] += 1
    assert ((module(moved) - module(x)).abs().amax((0, 1)) > 1e-9).all()


def test_large_shrinkage_leaves_the_input():
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(lively(sparsity_threshold=1e9)(x), x)


def test_gradients_are_those_of_the_formula():
    module = lively(4, 2, act="swish")
    x = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_one_residual_goes_around_mlp_and_filter():
    torch.manual_seed(0)
    block = FilterBlock(8, 16, 2, "swish", "layer_norm_2d").eval()
    x = torch.randn(2, 8, 5, 6)
    n = F.group_norm(x, 1, block.norm1.weight, block.norm1.bias)
    mixed = n + block.mlp.red_1x1(block.mlp.conv_3x3(block.mlp.exp_1x1(n)))
    torch.testing.assert_close(block(x), x + block.filter(block.norm2(mixed)))


def test_channel_norm_adds_eps_to_the_deviation():
    norm, x = ChannelNorm(6, eps=0.5), torch.randn(2, 6, 3, 3)
    centred = x - x.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True).sqrt() + 0.5)
    torch.testing.assert_close(norm(x), expected)


def test_norms_of_a_block_differ():
    x = torch.randn(1, 16, 6, 6)
    outs = []
    for norm in ("layer_norm_2d", "layer_norm"):
        torch.manual_seed(0)
        outs.append(AFFBlock(16, norm=norm).eval()(x))
    assert not torch.allclose(*outs)


def test_plugs_into_a_resnet():
    plugin = dict(cfg=dict(type="AFFFilter"), stages=(False, True, True, True), position="after_conv2")
    net = ResNet(50, base_channels=16, plugins=[plugin])
    net.eval()
    filters = [module for module in net.modules() if isinstance(module, AFFFilter)]
    assert len(filters) == 4 + 6 + 3
    x = torch.randn(1, 3, 64, 96)
    before = net(x)[-1]
    with torch.no_grad():
        for module in filters:
            module.b2 += 1
    assert not torch.allclose(net(x)[-1], before)


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="AFFFilter: in_channels must be divisible by num_blocks 8, got 12"):
        AFFFilter(12)
    with pytest.raises(ValueError, match="act must be relu, swish, gelu, got 'tanh'"):
        AFFFilter(16, act="tanh")
    with pytest.raises(ValueError, match="AFFBlock: norm must be"):
        AFFBlock(16, norm="BN")
