"""Signals as spectra of overlapping frames, and back. Which frames, and why they add up: `toolkit.audio.spectral`."""

import torch
from torch import Tensor


def frames_of(signal: Tensor, window: Tensor, hop_size: int) -> Tensor:
    """Spectra of all whole frames: (..., T) -> (..., F, N) complex; N = (T - window) // hop + 1, F = window / 2 + 1."""
    frames = signal.unfold(-1, len(window), hop_size) * window
    return torch.fft.rfft(frames).transpose(-1, -2)


def overlap_add(spectra: Tensor, window: Tensor, hop_size: int) -> Tensor:
    """The signal of spectra: (..., F, N) complex -> (..., (N - 1) * hop + window)."""
    frames = torch.fft.irfft(spectra.transpose(-1, -2), n=len(window)) * (window * (2 * hop_size / len(window)))
    steps = frames.unflatten(-1, (-1, hop_size))  # (..., N, window / hop, hop)
    count, overlap = steps.shape[-3:-1]
    signal = steps.new_zeros(*steps.shape[:-3], count + overlap - 1, hop_size)
    for step in range(overlap):
        signal[..., step : step + count, :] += steps[..., step, :]
    return signal.flatten(-2)
