"""Blocks through a pipeline: nothing is lost, shifted or clipped, whatever the rate."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toolkit.audio.pipeline import Pipeline, speaker_order
from toolkit.audio.spectral import SpectralModel
from toolkit.audio.windows import Windows


class Gain(SpectralModel):
    """Multiplies frequencies from `start` Hz on by `gain`."""

    def __init__(self, gain: float = 1.0, start: float = 0.0, outputs: tuple[str, ...] = ("speech",)):
        super().__init__(320, 160, 16000, outputs=outputs)
        gains = torch.where(torch.fft.rfftfreq(320, 1 / 16000) >= start, gain, 1.0)
        self.register_buffer("gains", gains[:, None])

    def core(self, spectra, state):
        return (spectra * self.gains).repeat(1, len(self.outputs), 1, 1), state


class Halves(nn.Module):
    """Splits a mixture of a low and a high tone, in an order and with a level that change from call to call."""

    sample_rate, inputs, outputs = 8000, ("mixture",), ("speaker 1", "speaker 2")
    windows = Windows(one_pass=2, window=2, stride=1.5, drop=0.25)

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, mixture: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(mixture)
        low = torch.fft.rfftfreq(mixture.shape[-1], 1 / 8000) < 1000
        parts = [torch.fft.irfft(spectrum * mask, n=mixture.shape[-1]) for mask in (low, ~low)]
        self.calls += 1
        return torch.stack(parts[:: 1 if self.calls % 2 else -1], 1) * 0.2


def through(pipeline: Pipeline, wav: np.ndarray, block: int = 1000) -> np.ndarray:
    parts = [pipeline.push(wav[:, start : start + block]) for start in range(0, wav.shape[1], block)]
    return np.concatenate([*parts, pipeline.finish()], -1)


def noise(channels: int, length: int, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((channels, length)) * level).astype(np.float32)


def tone(frequency: float, rate: int, length: int, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(length) / rate)).astype(np.float32)[None]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 96000])
@pytest.mark.parametrize("length", [1, 50, 7001])
def test_a_network_that_changes_nothing_gives_the_input_back(rate: int, length: int):
    wav = noise(6 if rate == 96000 else 2, length)
    out = through(Pipeline(Gain(), rate, len(wav), 1), wav)
    np.testing.assert_allclose(out[0], wav, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_blocks_do_not_matter(rate: int):
    wav = noise(1, 20000)
    whole = through(Pipeline(Gain(0.3, 3000), rate, 1, 1), wav, 20000)
    for block in (160, 999):
        np.testing.assert_allclose(through(Pipeline(Gain(0.3, 3000), rate, 1, 1), wav, block), whole, atol=1e-5)


def test_the_band_above_goes_with_the_top_of_the_band_below():
    low, high = tone(1000, 48000, 48000), tone(12000, 48000, 48000)
    middle = slice(10000, -10000)
    wav = low + high + noise(1, 48000, 0.01)
    kept = through(Pipeline(Gain(0.1, 4000), 48000, 1, 1), wav)[0, :, middle]
    np.testing.assert_allclose((kept * high[:, middle]).mean() / np.square(high[:, middle]).mean(), 0.1, atol=0.02)
    np.testing.assert_allclose((kept * low[:, middle]).mean() / np.square(low[:, middle]).mean(), 1, atol=0.02)


def test_the_mix_holds_the_input_in_step():
    wav = noise(1, 20000)
    half = through(Pipeline(Gain(0.0), 44100, 1, 1, mix=0.25), wav)
    np.testing.assert_allclose(half[0, :, 1000:-1000], 0.25 * wav[:, 1000:-1000], atol=1e-3)
    np.testing.assert_array_equal(through(Pipeline(Gain(0.0), 44100, 1, 1, mix=1.0), wav)[0], wav)


def test_output_never_clips_and_is_untouched_elsewhere():
    wav = tone(300, 16000, 32000, 0.2)
    wav[:, 15000:17000] *= 4.5
    louder = through(Pipeline(Gain(2.0), 16000, 1, 1), wav)[0]
    assert 0.95 < np.abs(louder).max() <= 0.999
    np.testing.assert_allclose(louder[:, :14000], 2 * wav[:, :14000], atol=1e-5)
    np.testing.assert_allclose(louder[:, 18000:], 2 * wav[:, 18000:], atol=1e-5)
    inner = louder[0, 15500:16500]
    np.testing.assert_allclose(inner, wav[0, 15500:16500] * (0.999 / 0.9), atol=0.02)  # turned down, not cut off


def test_an_input_at_full_scale_may_stay_there():
    wav = np.sign(tone(300, 16000, 8000))
    np.testing.assert_allclose(through(Pipeline(Gain(), 16000, 1, 1), wav)[0], wav, atol=1e-5)


def test_only_the_first_outputs_are_given():
    assert through(Pipeline(Gain(outputs=("speech", "noise")), 16000, 1, 1), noise(1, 1000)).shape == (1, 1, 1000)


def test_speakers_are_put_in_order_whatever_a_network_gives():
    one, two = np.eye(2, 8, dtype=np.float32)
    assert speaker_order(np.stack((one, two)), np.stack((two, one))) == [1, 0]
    assert sorted(speaker_order(np.stack((one, two)), np.stack((one, two * np.nan)))) == [0, 1]


@pytest.mark.parametrize("seconds", [0.01, 1.0, 6.0, 6.1, 10.5, 23.3])
@pytest.mark.parametrize("channels", [1, 2])
def test_speakers_keep_their_order_and_level_across_windows(seconds: float, channels: int):
    length = round(seconds * 8000)
    speakers = np.concatenate((tone(440, 8000, length), tone(1760, 8000, length, 0.1)))
    mixture = np.repeat(speakers.sum(0, keepdims=True), channels, 0)
    network = Halves()
    out = through(Pipeline(network, 8000, channels, 2), mixture, 3000)
    assert out.shape == (2, channels, length)
    if seconds < 1:
        return
    assert network.calls == channels * max(1, 1 + int(np.ceil((seconds - 6) / 4.5)))
    inner = slice(200, -200)  # the tones are cut at the ends
    np.testing.assert_allclose(out[:, :, inner], np.stack([speakers] * channels, 1)[:, :, inner], atol=0.02)


def test_speakers_keep_their_order_through_pauses():
    length = 8000 * 30
    speakers = np.concatenate((tone(440, 8000, length), tone(1760, 8000, length, 0.1)))
    pauses = np.sin(2 * np.pi * np.arange(length) / (8000 * 6.5)) > -0.4  # of 2.4 s, longer than the overlap
    out = through(Pipeline(Halves(), 8000, 1, 2), (speakers * pauses).sum(0, keepdims=True), 3000)
    error = out[:, 0] - speakers * pauses
    assert (np.square(error).sum(1) < 0.01 * np.square(speakers).sum(1)).all()


def test_windows_join_without_a_seam():
    class Same(Halves):
        outputs = ("speech",)

        def forward(self, mixture):
            return mixture[:, None]

    wav = noise(1, 60000)
    np.testing.assert_allclose(through(Pipeline(Same(), 8000, 1, 1), wav)[0], wav, atol=1e-6)


def test_silence_stays_silence():
    for network in (Gain(0.3, 100), Halves()):
        out = through(Pipeline(network, 44100, 1, 1), np.zeros((1, 100000), np.float32))
        assert np.abs(out).max() == 0
