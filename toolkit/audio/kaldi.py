"""Log-mel features as the Kaldi toolkit computes them, and their deltas.

The Kaldi Speech Recognition Toolkit, ASRU 2011, https://kaldi-asr.org/doc/feat.html.

    frame -> + dither -> - mean -> x[n] - 0.97 x[n - 1] -> * window -> |FFT|^2 -> triangles on the mel scale -> log
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PREEMPHASIS = 0.97
LOWEST = 20.0  # Hz, where the first triangle begins
DELTA_REACH = 2  # frames to either side


def mel(frequency: Tensor) -> Tensor:
    """Hz -> mel."""
    return 1127.0 * torch.log1p(frequency / 700.0)


def mel_triangles(num_mels: int, fft_size: int, sample_rate: int) -> Tensor:
    """(fft_size / 2 + 1, num_mels): triangles of equal width on the mel scale from 20 Hz to half the sample rate.

    The highest bin counts for nothing.
    """
    bins = mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * sample_rate / fft_size)
    low, high = mel(torch.tensor([LOWEST, sample_rate / 2], dtype=torch.float64))
    step = (high - low) / (num_mels + 1)
    position = (bins[:, None] - low) / step - torch.arange(num_mels)  # 0, 1, 2 at start, top and end of a triangle
    weights = torch.minimum(position, 2 - position).clamp(min=0)
    weights[-1] = 0
    return weights.float()


def log_mel_filterbank(
    signal: Tensor, sample_rate: int, num_mels: int, window: Tensor, hop_size: int, dither: float = 0.0
) -> Tensor:
    """Natural logarithm of mel energies: (B, T) in 16-bit steps -> (B, frames, num_mels), whole frames only.

    Args:
        window: its length is that of a frame.
        hop_size: from frame to frame, in samples.
        dither: standard deviation of noise that is added, in 16-bit steps.
    """
    frames = signal.unfold(-1, len(window), hop_size)
    if dither:
        frames = frames + dither * torch.randn_like(frames)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
    frames = (frames - PREEMPHASIS * before) * window
    fft_size = 1 << (len(window) - 1).bit_length()
    spectrum = torch.fft.rfft(frames, fft_size)
    power = spectrum.real.square() + spectrum.imag.square()  # abs() would take roots
    energies = power @ mel_triangles(num_mels, fft_size, sample_rate).to(power)
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def deltas(features: Tensor) -> Tensor:
    """Slope over five frames by linear regression, edge frames repeated: (B, frames, C) -> (B, frames, C)."""
    reach = torch.arange(-DELTA_REACH, DELTA_REACH + 1).to(features)
    padded = F.pad(features.transpose(1, 2), (DELTA_REACH, DELTA_REACH), mode="replicate")
    return (padded.unfold(-1, len(reach), 1) @ (reach / reach.square().sum())).transpose(1, 2)


def add_deltas(features: Tensor) -> Tensor:
    """(B, frames, C) -> (B, frames, 3 C): the features, their deltas and the deltas of these."""
    first = deltas(features)
    return torch.cat((features, first, deltas(first)), -1)
