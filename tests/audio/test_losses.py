"""Losses against formulas written out, and what leaves them unchanged."""

import math

import numpy as np
import pytest
import torch

from toolkit.audio.losses import CompressedSpectrumLoss, SISDRLoss, best_order, si_sdr


@pytest.fixture
def signals():
    torch.manual_seed(0)
    return torch.randn(2, 3, 4000)


def test_si_sdr_of_known_noise():
    """Noise at right angles to the signal and 20 dB below it gives 20 dB."""
    time = torch.arange(8000) / 8000
    target = torch.sin(2 * math.pi * 100 * time)
    noise = torch.sin(2 * math.pi * 300 * time)
    torch.testing.assert_close(si_sdr(target + 0.1 * noise, target), torch.tensor(20.0), atol=1e-3, rtol=0)


def test_si_sdr_ignores_scale_and_offset(signals):
    estimate, target = signals[0], signals[0] + 0.3 * signals[1]
    torch.testing.assert_close(
        si_sdr(7 * estimate + 0.2, 0.1 * target - 3), si_sdr(estimate, target), atol=1e-3, rtol=0
    )


def test_limit_is_approached(signals):
    value = si_sdr(signals, signals, limit=30.0)
    torch.testing.assert_close(value, torch.full_like(value, 30.0), atol=0.01, rtol=0)


def test_silence_is_finite():
    estimate = torch.zeros(1, 1, 100, requires_grad=True)
    loss = SISDRLoss(limit=30.0)(estimate, torch.zeros(1, 1, 100))
    loss.backward()
    assert loss.isfinite()
    assert estimate.grad.isfinite().all()


def test_permutation_finds_the_order(signals):
    shuffled = torch.stack((signals[0, [2, 0, 1]], signals[1, [1, 0, 2]])) + 0.1 * torch.randn(2, 3, 4000)
    values = si_sdr(shuffled[:, :, None], signals[:, None])
    means, order = best_order(values)
    assert order.tolist() == [[1, 2, 0], [1, 0, 2]]
    np.testing.assert_allclose(-SISDRLoss(permute=True)(shuffled, signals), means.mean(), rtol=1e-6)
    assert SISDRLoss(permute=True)(shuffled, signals) < SISDRLoss()(shuffled, signals) - 20


def test_spectrum_loss_is_relative_to_the_targets_level(signals):
    loss = CompressedSpectrumLoss((128, 512))
    estimate = signals + 0.2 * torch.randn_like(signals)
    torch.testing.assert_close(loss(0.01 * estimate, 0.01 * signals), loss(estimate, signals), rtol=1e-4, atol=0)
    assert loss(signals, signals) < 1e-9


def test_spectrum_loss_without_phase_ignores_the_sign(signals):
    assert CompressedSpectrumLoss(phase=0.0)(-signals, signals) < 1e-6
    assert CompressedSpectrumLoss(phase=1.0)(-signals, signals) > 1
