"""The echo canceller's blocks against formulas; causality; streams; the loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from toolkit.audio.d3net_aec import D3NetAEC, DualMaskLoss, Past, PseudoComplexConv, PseudoComplexD2, PseudoComplexD3
from toolkit.config import load_config


def shake(module: torch.nn.Module) -> torch.nn.Module:
    """Give fresh batch norms statistics and scales, so that they do something."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return module.eval()


@pytest.fixture(scope="module")
def model() -> D3NetAEC:
    torch.manual_seed(0)
    return shake(D3NetAEC(4, 2, 3, 2, taps=4, window_size=64, hop_size=32, sample_rate=8000))


def test_a_pseudo_complex_layer_can_be_a_complex_one():
    torch.manual_seed(0)
    layer = PseudoComplexConv(4, 6, (3, 2))
    real, imag = torch.randn(2, 3, 2, 3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.cat((torch.cat((real, -imag), 1), torch.cat((imag, real), 1)), 0))
        layer.bias.zero_()
    x = torch.randn(1, 2, 9, 7, dtype=torch.complex64)
    want = F.conv2d(F.pad(x, (1, 0)), torch.complex(real, imag), padding=(1, 0))
    got = layer(torch.cat((x.real, x.imag), 1), Past(None)).chunk(2, 1)
    torch.testing.assert_close(torch.complex(*got), want, atol=1e-5, rtol=1e-5)


def test_a_d2_block_is_dense_with_a_dilation_for_each_source():
    torch.manual_seed(0)
    block = shake(PseudoComplexD2(3, 2, 4, (3, 3)))
    x = torch.randn(2, 6, 17, 20)
    sources = [x]  # the block's input, then each layer's output
    for layer in range(4):
        out = 0
        for i, source in enumerate(sources):
            rows = slice(4 * (layer - i), 4 * (layer - i + 1))
            active = F.pad(block.norms[i](source).relu(), (2 * 2**i, 0))
            weight, bias = block.convs[i].weight[rows], block.convs[i].bias[rows]
            out = out + F.conv2d(active, weight, bias, padding=(2**i, 0), dilation=2**i)
        sources.append(out)
    torch.testing.assert_close(block(x, Past(None)), sources[-1], atol=1e-5, rtol=1e-5)


def test_a_d3_block_connects_its_d2_blocks_densely():
    torch.manual_seed(0)
    block = shake(PseudoComplexD3(3, 2, 2, 3, (3, 2)))
    x = torch.randn(1, 6, 9, 12)
    first = block.blocks[0](x, Past(None)).chunk(3, 1)
    second = block.blocks[1](first[0], Past(None)).chunk(2, 1)
    third = block.blocks[2](first[1] + second[0], Past(None))
    torch.testing.assert_close(block(x, Past(None)), first[2] + second[1] + third, atol=1e-5, rtol=1e-5)


def test_speech_echo_and_noise_add_up_to_the_microphone(model: D3NetAEC):
    microphone, reference = torch.randn(2, 2, 1000) / 10
    with torch.no_grad():
        out = model(microphone, reference)
    assert out.shape == (2, 3, 1000)
    torch.testing.assert_close(out.sum(1), microphone, atol=1e-5, rtol=0)


def test_nothing_looks_ahead(model: D3NetAEC):
    signals = torch.randn(2, 1, 960) / 10
    changed = signals.clone()
    changed[..., 640:] = torch.randn(2, 1, 320)
    with torch.no_grad():
        before, after = model(*signals), model(*changed)
    torch.testing.assert_close(before[..., : 640 - 64], after[..., : 640 - 64], atol=1e-6, rtol=0)
    assert (before[..., 640:] - after[..., 640:]).abs().max() > 0.01


@pytest.mark.parametrize("chunk", [1, 8, 100, 500])
def test_a_stream_equals_the_whole_signal(model: D3NetAEC, chunk: int):
    signals = torch.randn(2, 500) / 10
    with torch.no_grad():
        whole = model(signals[:1], signals[1:])[0]
    stream = model.stream()
    out = torch.cat([*(stream.push(part) for part in signals.split(chunk, -1)), stream.flush()], -1)
    torch.testing.assert_close(out[..., stream.latency :], whole, atol=1e-5, rtol=0)


def test_matching_finds_level_and_phase_of_a_late_echo():
    """The reference of two frames ago, matched, is an echo that comes two frames late at half the level."""
    torch.manual_seed(0)
    model = D3NetAEC(4, 1, 2, 1, taps=4, window_size=64, hop_size=32, sample_rate=8000)
    reference = torch.randn(1, 6400) / 10
    microphone = F.pad(-0.5 * reference, (64, -64))
    spectra = model.analyse(torch.stack((microphone, reference), 1))
    matched, coherence = model.matching(spectra[:, :1], spectra[:, 1:], Past(None))
    torch.testing.assert_close(matched[0, 2, :, 150:-1], spectra[0, 0, :, 150:-1], atol=0, rtol=0.05)
    assert coherence[0, 2, :, 150:-1].min() > 0.9
    assert coherence[0, 0, 1:-1, 150:-1].mean() < 0.4


def test_masks_on_the_matched_reference_take_the_echo_out():
    """With the head fixed to pass the matched reference of two frames ago, an echo late by that much vanishes."""
    torch.manual_seed(0)
    model = D3NetAEC(4, 1, 2, 1, taps=4, window_size=64, hop_size=32, sample_rate=8000).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.head.bias[2 + 2] = 1.0  # after the masks of echo and noise: the real part of the one two frames ago
        reference = torch.randn(1, 6400) / 10
        microphone = F.pad(0.5 * reference, (64, -64))
        speech, echo, noise = model(microphone, reference)[0, :, 4800:]
    assert speech.square().mean() < 0.01 * microphone[0, 4800:].square().mean()
    torch.testing.assert_close(speech + echo, microphone[0, 4800:], atol=1e-5, rtol=0)
    assert not noise.any()


def test_silence_gives_finite_gradients(model: D3NetAEC):
    quiet = torch.zeros(2, 3, 640)
    loss = DualMaskLoss()(model(quiet[:, 0], quiet[:, 1]), quiet)
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
    model.zero_grad()


def test_the_larger_config_has_the_published_number_of_parameters():
    arguments = load_config("audio/d3net_aec_16k").model.network
    arguments.pop("type")
    count = sum(weight.numel() for weight in D3NetAEC(**arguments).parameters())
    assert count == 354_476  # the paper: 354K


def test_loss_is_the_error_against_the_microphone_in_decibels():
    torch.manual_seed(0)
    targets, errors = torch.randn(2, 4, 3, 100)
    energy = targets.sum(1).square().sum(-1)
    want = sum(
        weight * 10 * math.log10(float(errors[b, s].square().sum() / energy[b]) + 1e-3)
        for b in range(4)
        for s, weight in enumerate((1.0, 0.5, 0.2))
    )
    loss = DualMaskLoss(weights=(1.0, 0.5, 0.2), limit=30.0)(targets + errors, targets)
    assert float(loss) == pytest.approx(want / 4, abs=1e-4)
    assert float(DualMaskLoss((1, 0, 0), 30.0)(targets, targets)) == pytest.approx(-30, abs=1e-3)
