"""Streams equal the whole signal at once, with the delay that they state."""

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.audio.spectral import SpectralModel


class Echo(SpectralModel):
    """Adds to each frame half of the frame before: a core with memory and no weights."""

    def core(self, spectra, state):
        last = torch.zeros_like(spectra[..., :1]) if state is None else state
        before = torch.cat((last, spectra[..., :-1]), -1)
        return (spectra + 0.5 * before).sum(1, keepdim=True), spectra[..., -1:]


class Recurrent(SpectralModel):
    """A gain for each frame from a GRU over the frames."""

    def __init__(self):
        super().__init__(64, 16, 16000)
        self.gru = nn.GRU(33, 33, batch_first=True)

    def core(self, spectra, state):
        gain, state = self.gru(spectra[:, 0].abs().transpose(1, 2), state)
        return spectra * gain.transpose(1, 2).sigmoid()[:, None], state


def streamed(model: SpectralModel, signals: torch.Tensor, chunk: int) -> torch.Tensor:
    """(C, T) through a stream in chunks, without the delay."""
    stream = model.stream()
    parts = [stream.push(part) for part in signals.split(chunk, -1)]
    assert [part.shape[-1] for part in parts] == [part.shape[-1] for part in signals.split(chunk, -1)]
    out = torch.cat([*parts, stream.flush()], -1)
    assert out[..., : stream.latency].shape[-1] == stream.latency
    return out[..., stream.latency :]


@pytest.mark.parametrize(("window", "hop"), [(512, 256), (512, 128), (320, 160), (48, 16)])
def test_a_core_that_changes_nothing_gives_the_input_back(window: int, hop: int):
    class Same(SpectralModel):
        def core(self, spectra, state):
            return spectra, state

    for length in (1, hop - 1, hop, 5000):
        signal = torch.randn(2, length)
        out = Same(window, hop, 16000)(signal)
        torch.testing.assert_close(out, signal[:, None], atol=1e-5, rtol=0)


def test_frames_end_at_their_newest_sample():
    torch.manual_seed(0)
    model = Recurrent().eval()
    signal = torch.randn(1, 640)
    changed = signal.clone()
    changed[:, 400:] += 1  # frames that end at or before sample 400 see nothing of it
    with torch.no_grad():
        difference = (model(signal) - model(changed)).abs()[0, 0]
    assert difference[: 400 - model.window_size].max() == 0
    assert difference[400:].min() > 0


@pytest.mark.parametrize("chunk", [1, 7, 16, 160, 1000, 5000])
def test_streams_equal_the_whole(chunk: int):
    torch.manual_seed(0)
    for model in (Recurrent().eval(), Echo(64, 16, 16000, inputs=("microphone", "reference"))):
        signals = torch.randn(len(model.inputs), 2345)
        with torch.no_grad():
            whole = model(*signals[:, None])[0]
        torch.testing.assert_close(streamed(model, signals, chunk), whole, atol=1e-5, rtol=0)


def test_uneven_chunks_and_empty_ones_equal_the_whole():
    torch.manual_seed(1)
    model, signal = Recurrent().eval(), torch.randn(1, 1234)
    stream = model.stream()
    parts = [stream.push(part) for part in signal.split([0, 3, 500, 0, 1, 700, 30], -1)]
    out = torch.cat([*parts, stream.flush()], -1)[:, stream.latency :]
    with torch.no_grad():
        torch.testing.assert_close(out, model(signal)[0], atol=1e-5, rtol=0)


def test_output_is_zero_until_the_latency_is_over():
    stream = Echo(64, 16, 16000).stream()
    out = stream.push(torch.ones(200))[0]
    assert stream.latency == 63
    assert out[:63].abs().max() < 1e-6
    assert out[63] > 0.5


def test_signals_side_by_side_do_not_mix_and_flush_starts_afresh():
    torch.manual_seed(0)
    model, signals = Recurrent().eval(), torch.randn(3, 1, 500)
    stream = model.stream()
    together = torch.cat((stream.push(signals[..., :100]), stream.push(signals[..., 100:]), stream.flush()), -1)
    for signal, out in zip(signals, together, strict=True):
        alone = torch.cat((stream.push(signal), stream.flush()), -1)
        torch.testing.assert_close(out, alone, atol=1e-5, rtol=0)


def test_numpy_in_numpy_out():
    stream = Recurrent().eval().stream()
    assert isinstance(stream.push(np.zeros(10, np.float32)), np.ndarray)


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="microphone, reference"):
        Echo(64, 16, 16000, inputs=("microphone", "reference")).stream().push(torch.zeros(10))
    stream = Recurrent().eval().stream()
    stream.push(torch.zeros(1, 10))
    with pytest.raises(ValueError, match="first chunk"):
        stream.push(torch.zeros(2, 1, 10))


def test_windows_must_overlap():
    with pytest.raises(ValueError, match="hop_size"):
        Echo(100, 64, 16000)
