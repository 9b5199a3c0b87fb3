"""BandGRU is causal, streams exactly, does not hear loudness, and the shipped weights take noise out."""

import numpy as np
import pytest
import soundfile
import torch

from toolkit.audio.denoiser import BandGRU
from toolkit.audio.losses import si_sdr
from toolkit.audio.simulate import shaped_noise
from toolkit.commands.denoise import SHIPPED
from toolkit.inference import load_model

BOUNDS = {-5.0: 5.5, 0.0: 4.8, 5.0: 3.5, 10.0: 1.6}  # dB gained
CLEAN_BOUND = 25.0  # dB that clean speech keeps, on average


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = BandGRU(channels=(8, 8, 8), hidden=16)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    with torch.no_grad():
        network.head.weight.mul_(10)
    return network.eval()


@pytest.mark.parametrize("chunk", [16, 777, 16000])
def test_stream_equals_whole(network, chunk):
    signal = 0.1 * torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    stream = network.stream()
    done = [stream.push(signal[:, start : start + chunk]) for start in range(0, 9000, chunk)]
    done = torch.cat((*done, stream.flush()), -1)[:, stream.latency :]
    with torch.inference_mode():
        torch.testing.assert_close(done, network(signal)[0], atol=1e-5, rtol=0)


def test_output_follows_the_level(network):
    """What comes out is as much louder as what went in."""
    signal = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(100 * network(0.01 * signal), network(signal), atol=1e-3, rtol=1e-2)


def test_silence_in_silence_out(network):
    with torch.inference_mode():
        assert network(torch.zeros(1, 3000)).abs().max() == 0


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="must divide by 32"):
        BandGRU(window_size=200, hop_size=100)


@pytest.fixture(scope="module")
def shipped():
    """The network in the package."""
    return load_model(str(SHIPPED), device="cpu").network


def improvement(network, speech, noise, level):
    """SI-SDR gained on speech (T,) with noise (T,) added at `level` dB."""
    noise = noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-level / 20)
    mixture, target = torch.from_numpy(np.stack((speech + noise, speech)).astype(np.float32))
    with torch.inference_mode():
        return float(si_sdr(network(mixture[None])[0, 0], target) - si_sdr(mixture, target))


def test_shipped_weights_are_small_and_quick(shipped):
    assert SHIPPED.stat().st_size < 2.5e6
    assert sum(weight.numel() for weight in shipped.parameters()) < 1e6
    assert shipped.window_size / shipped.sample_rate == 0.064  # as stated


@pytest.mark.shared
def test_shipped_denoiser_on_unseen_speech_and_noise(shared, shipped):
    """Recordings that are in no training set; bounds somewhat below the figures in toolkit/audio/weights/README.md."""
    speech = [soundfile.read(path)[0] for path in sorted((shared / "data" / "speech_16k").glob("*.wav"))]
    noises = [soundfile.read(shared / "data" / "noise" / f"{name}.wav")[0] for name in ("city", "exercise_bike")]
    for level, bound in BOUNDS.items():
        gains = [improvement(shipped, one, np.resize(noise, len(one)), level) for one in speech for noise in noises]
        assert np.mean(gains) > bound
    with torch.inference_mode():
        cleans = [torch.from_numpy(one.astype(np.float32)) for one in speech]
        assert np.mean([float(si_sdr(shipped(clean[None])[0, 0], clean)) for clean in cleans]) > CLEAN_BOUND


@pytest.mark.shared
def test_shipped_denoiser_takes_off_steady_noise(shared, shipped):
    speech = soundfile.read(sorted((shared / "data" / "speech_16k").glob("sense*.wav"))[0])[0]
    noise = shaped_noise(np.random.default_rng(0), len(speech), 16000, -3.0)
    assert improvement(shipped, speech, noise, 0.0) > 3
