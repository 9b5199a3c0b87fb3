"""BandGRU: the small causal denoiser that comes with the toolkit.

The layout is the project's own, made of known parts: a convolutional recurrent network (A Convolutional Recurrent
Neural Network for Real-Time Speech Enhancement, Interspeech 2018) on spectra compressed in magnitude, whose output is a
complex filter over a few frames (Deep Filtering: Signal Extraction and Reconstruction Using Complex Time-Frequency
Filters, ICASSP 2020, arXiv 1904.08369).

    level[n]   = running mean over time of the mean log power, so that the network hears every recording equally loud
    features   = |X|^0.3 * (1, cos phase, sin phase) of X = spectrum / level
    encoder    : convolutions along frequency, 512 bins -> 16 bands, two frames each
    memory     : GRUs over time across all bands, around them a residual connection
    decoder    : the encoder turned round, with its maps added
    speech[n]  = sum over k of M_k[n] * spectrum[n - k],    M_k = tanh(real) + i tanh(imaginary)

The highest bin, half the sample rate, is left out. Nothing looks ahead: the delay is that of the spectra, 64 ms. Such
long frames part the harmonics of low voices, which lie 80 Hz from each other.
"""

from itertools import pairwise
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.audio.spectral import SpectralModel

COMPRESSION = 0.3
QUIET = 1e-9  # mean power of a bin below which a frame does not raise or lower the level


class RunningLevel(nn.Module):
    """Divide spectra by a running estimate of their level: an exponential mean of log power, plain at the start.

    Args:
        frames: time constant; the first that many frames weigh equally.
    """

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    @torch.no_grad()
    def forward(self, power: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, F, N) power -> (B, N) gains for amplitudes, and the state: (B,) mean log power, (B,) frames counted."""
        loudness = power.mean(1)
        heard = (loudness > QUIET).to(loudness)
        loudness = (loudness + QUIET).log()
        mean, count = state if state is not None else (loudness.new_zeros(len(power)), loudness.new_zeros(len(power)))
        means = []
        for frame, counts in zip(loudness.unbind(-1), heard.unbind(-1), strict=True):
            count = (count + counts).clamp(max=self.frames)
            mean = mean + counts * (frame - mean) / count.clamp(min=1)
            means.append(mean)
        return (-0.5 * torch.stack(means, -1)).exp(), (mean, count)


class CausalConv(nn.Sequential):
    """Convolution over (frequency, this and the previous frame), batch norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, bins: int, stride: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, (bins, 2), (stride, 1), (bins // 2, 0), bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(0.1, inplace=True),
        )


class Widen(nn.Sequential):
    """Transposed convolution along frequency to twice the bands, batch norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.ConvTranspose2d(in_channels, out_channels, (4, 1), (2, 1), (1, 0), bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(0.1, inplace=True),
        )


@MODELS.register_module()
class BandGRU(SpectralModel):
    """See the module's text.

    Args:
        channels: of the encoder's convolutions, each of which halves the number of bands.
        hidden: width of the GRUs.
        layers: number of GRUs.
        taps: frames that the output filter takes in, the present one included.
        window_size, hop_size, sample_rate: of the spectra, see `SpectralModel`; window_size / 2 bins must divide by
            2 ** len(channels).
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (16, 24, 32, 40, 48),
        hidden: int = 192,
        layers: int = 2,
        taps: int = 3,
        window_size: int = 1024,
        hop_size: int = 512,
        sample_rate: int = 16000,
    ):
        super().__init__(window_size, hop_size, sample_rate)
        bands = window_size // 2 // 2 ** len(channels)
        if bands * 2 ** len(channels) != window_size // 2:
            raise ValueError(f"BandGRU: window_size / 2 must divide by {2 ** len(channels)}, got {window_size}")
        self.taps = taps
        self.level = RunningLevel(frames=round(3 * sample_rate / hop_size))
        # two neighbouring bins are two channels: the first convolution is the dearest
        first = CausalConv(6, channels[0], 5, 1)
        self.encoder = nn.ModuleList([first, *(CausalConv(a, b, 3, 2) for a, b in pairwise(channels))])
        width = channels[-1] * bands
        self.squeeze = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(0.1, inplace=True))
        self.memory = nn.ModuleList(nn.GRU(hidden, hidden, batch_first=True) for _ in range(layers))
        self.expand = nn.Linear(hidden, width)
        self.decoder = nn.ModuleList(Widen(a, b) for a, b in pairwise(channels[::-1]))
        self.head = nn.Conv2d(channels[0], 2 * 2 * taps, (3, 1), padding=(1, 0))
        with torch.no_grad():
            self.head.weight *= 0.1
            self.head.bias.zero_()
            self.head.bias[:2] = 1.0  # real part of the present frame, both bins: near to passing the input
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def core(self, spectra: Tensor, state: Any) -> tuple[Tensor, Any]:  # (B, 1, F, N) -> (B, 1, F, N)
        past = state or {}
        kept: dict[str, Any] = {}
        spectrum = spectra[:, 0, :-1]
        x, kept["level"] = self.features(spectrum, past.get("level"))
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for i, layer in enumerate(self.encoder):
            before = past.get(f"frame {i}")
            before = torch.zeros_like(x[..., :1]) if before is None else before.to(x)
            kept[f"frame {i}"] = x[..., -1:].detach().clone()
            x = layer(torch.cat((before, x), -1))
            maps.append(x)
        x = x + self.remember(x, past, kept)
        for layer, skip in zip(self.decoder, maps[-2::-1], strict=True):
            x = layer(x) + skip
        return self.filter(spectrum, self.head(x).float(), past, kept), kept

    def features(self, spectrum: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(B, F, N) complex -> (B, 6, F / 2, N), and the state of the level."""
        power = spectrum.real**2 + spectrum.imag**2
        gains, state = self.level(power, state)
        spectrum, power = spectrum * gains[:, None], power * gains[:, None] ** 2
        scale = (power + 1e-8) ** ((COMPRESSION - 1) / 2)
        magnitude = (power + 1e-8) ** (COMPRESSION / 2)
        parts = torch.stack((magnitude, spectrum.real * scale, spectrum.imag * scale), 1)
        return parts.unflatten(2, (-1, 2)).transpose(2, 3).flatten(1, 2), state

    def remember(self, x: Tensor, past: dict, kept: dict) -> Tensor:
        """The GRUs over all bands: (B, C, F, N) -> (B, C, F, N)."""
        y = self.squeeze(x.flatten(1, 2).transpose(1, 2))  # (B, N, hidden)
        for i, layer in enumerate(self.memory):
            kept_state = past.get(f"memory {i}")
            new, kept[f"memory {i}"] = layer(y, kept_state)
            y = y + new if i else new
        return self.expand(y).transpose(1, 2).unflatten(1, x.shape[1:3])

    def filter(self, spectrum: Tensor, mask: Tensor, past: dict, kept: dict) -> Tensor:
        """(B, F, N) complex, (B, 4 taps, F / 2, N) -> (B, 1, F + 1, N) complex."""
        mask = mask.tanh().unflatten(1, (self.taps, 2, 2))  # taps, parts, neighbouring bins
        mask = mask.permute(0, 1, 2, 4, 3, 5).flatten(3, 4)  # (B, taps, 2, F, N)
        mask = torch.complex(mask[:, :, 0].contiguous(), mask[:, :, 1].contiguous())
        before = past.get("spectrum")
        if before is None:
            before = spectrum.new_zeros(*spectrum.shape[:2], self.taps - 1)
        longer = torch.cat((before, spectrum), -1)
        kept["spectrum"] = longer[..., longer.shape[-1] - self.taps + 1 :].detach().clone()
        count = spectrum.shape[-1]
        speech = sum(mask[:, k] * longer[..., self.taps - 1 - k : self.taps - 1 - k + count] for k in range(self.taps))
        return nn.functional.pad(speech, (0, 0, 0, 1))[:, None]
