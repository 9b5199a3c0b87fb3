"""Causal networks on short-time spectra, offline and live with equal results.

Short Term Spectral Analysis, Synthesis, and Modification by Discrete Fourier Transform, Allen, IEEE Transactions on
Acoustics, Speech, and Signal Processing 1977, https://doi.org/10.1109/TASSP.1977.1162950

    frame n = samples [n * hop - (window - hop), (n + 1) * hop), so no frame looks past its own newest samples
    y = overlap-add of irfft(core(rfft(frame * w))) * w * 2 * hop / window,    w = sqrt(periodic Hann)

The signal has window - hop zeros in front. w^2 at this hop adds up to window / (2 * hop), so that a core that changes
nothing gives the input back.
"""

from typing import Any

import torch
from torch import Tensor, nn

from toolkit.audio.live import Stream
from toolkit.audio.short_time import frames_of, overlap_add


class SpectralModel(nn.Module):
    """A network whose `core` maps spectra to spectra and looks only at the present and past frames.

    A subclass writes `core`; `forward` and `stream` come from here.

    Args:
        window_size: samples in a frame, a multiple of `hop_size` and at least twice as long.
        hop_size: samples from one frame to the next.
        sample_rate: in Hz.
        inputs: names of the signals that go in, in order.
        outputs: names of the signals that come out.
    """

    windows = None  # works on audio of any length as it comes

    def __init__(
        self,
        window_size: int,
        hop_size: int,
        sample_rate: int,
        inputs: tuple[str, ...] = ("mixture",),
        outputs: tuple[str, ...] = ("speech",),
    ):
        super().__init__()
        if window_size % hop_size or window_size < 2 * hop_size:
            raise ValueError(
                f"{type(self).__name__}: window_size must be 2, 3, ... times hop_size, got {window_size}, {hop_size}"
            )
        self.window_size, self.hop_size, self.sample_rate = window_size, hop_size, sample_rate
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.register_buffer("window", torch.hann_window(window_size).sqrt(), persistent=False)

    def core(self, spectra: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Spectra of the outputs, frame for frame.

        Args:
            spectra: (B, C_in, F, N) complex64.
            state: None at the start of a signal, later what the call before gave: any nest of tensors. Splitting N
                anywhere gives the same result.

        Returns:
            (B, C_out, F, N) complex64, and the state after the last frame.
        """
        raise NotImplementedError

    def forward(self, *signals: Tensor) -> Tensor:
        """(B, T) in [-1, 1] for each input -> (B, C_out, T)."""
        spectra, _ = self.core(self.analyse(torch.stack(signals, 1)), None)
        return self.synthesise(spectra, signals[0].shape[-1])

    def analyse(self, signals: Tensor) -> Tensor:
        """Spectra of whole signals: (..., T) -> (..., F, N), N frames that reach past the last sample."""
        length, before = signals.shape[-1], self.window_size - self.hop_size
        frames = -(-(length + before) // self.hop_size)
        after = frames * self.hop_size - length
        return frames_of(nn.functional.pad(signals, (before, after)), self.window, self.hop_size)

    def synthesise(self, spectra: Tensor, length: int) -> Tensor:
        """Whole signals of the spectra: (..., F, N) -> (..., length)."""
        before = self.window_size - self.hop_size
        return overlap_add(spectra, self.window, self.hop_size)[..., before : before + length]

    def stream(self) -> Stream:
        """A new stream through this network, for audio that comes in chunks."""
        return Stream(self)
