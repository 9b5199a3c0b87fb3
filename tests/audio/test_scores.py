import numpy as np
import pytest
import torch

from toolkit.audio.metrics import Perceptual
from toolkit.audio.scores import best_order, scores

pytest.importorskip("pesq")
pytest.importorskip("pystoi")


def babble(length: int, seed: int) -> np.ndarray:
    """Noise in syllables, which the measures take for speech: (1, T)."""
    rng = np.random.default_rng(seed)
    rise = np.clip(np.sin(2 * np.pi * 3 * np.arange(length) / 16000 + seed), 0, None)
    return (0.1 * rise * np.convolve(rng.standard_normal(length), np.ones(5) / 5, "same")).astype(np.float32)[None]


def test_less_noise_is_better_by_every_measure():
    clean, noise = babble(48000, 0), 0.02 * np.random.default_rng(9).standard_normal((1, 48000)).astype(np.float32)
    worse, better = (scores(clean + gain * noise, clean, 16000) for gain in (1.0, 0.1))
    assert all(better[name] > worse[name] for name in ("SI-SDR dB", "PESQ", "STOI"))
    assert better["SI-SDR dB"] - worse["SI-SDR dB"] == pytest.approx(20, abs=0.1)


def test_metric_of_a_run_scores_the_first_output():
    clean, other = (torch.from_numpy(babble(48000, seed)) for seed in (0, 1))
    noisy = clean + 0.02 * torch.from_numpy(np.random.default_rng(9).standard_normal((1, 48000)).astype(np.float32))
    metric = Perceptual(16000)
    metric.process(dict(inputs=noisy[None], targets=clean[None]), [torch.cat((noisy, other))])
    expected = scores(noisy.numpy(), clean.numpy(), 16000)
    assert metric.evaluate(1) == pytest.approx({"audio/pesq": expected["PESQ"], "audio/stoi": expected["STOI"]})


def test_channels_and_lengths_may_differ():
    clean = babble(48000, 0)
    both = np.concatenate((clean, clean))
    assert scores(both[:, :40000], clean, 16000) == pytest.approx(scores(clean[:, :40000], clean[:, :40000], 16000))


def test_silence_has_no_quality():
    found = scores(np.zeros((1, 16000), np.float32), np.zeros((1, 16000), np.float32), 16000)
    assert np.isnan(found["PESQ"])
    assert np.isnan(found["STOI"])


def test_estimates_find_their_speakers():
    one, two, three = (babble(16000, seed) for seed in range(3))
    assert best_order([two * 3, one + 0.01 * two, three], [one, three]) == [1, 2]
    assert sorted(best_order([one, two * np.nan], [one, two])) == [0, 1]
