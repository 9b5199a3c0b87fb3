"""FRCRN: speech out of noise by two complex U-Nets in series, with recurrence along frequency.

FRCRN: Boosting Feature Representation using Frequency Recurrence for Monaural Speech Enhancement, ICASSP 2022,
arXiv 2206.07293. The FSMN is that of Feedforward Sequential Memory Networks, arXiv 1512.08301.

    Y = spectrum of the mixture      U1 = unet(Y), U2 = unet2(U1)      S = (tanh(U1) + tanh(U2)) Y

with tanh on real and imaginary part each. Every complex layer is made of two real ones A and B that stand for A + iB:

    (A + iB)(x + iy) = (A x - B y) + i (A y + B x)

also where A and B are not linear (FSMN, gates) or have biases. In this file a complex tensor is a `Pair`, its real and
its imaginary part, both (B, C, F, N) with F bins and N frames.
"""

from itertools import pairwise

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from toolkit.audio.short_time import frames_of, overlap_add
from toolkit.audio.windows import Windows

Pair = tuple[Tensor, Tensor]

LEVEL = 10 ** (-25 / 20)  # -25 dBFS, at which the published weights were trained
QUIETEST = 1e-6  # RMS; below is silence


class Complex(nn.Module):
    """The complex layer A + iB.

    Args:
        real: A, (B, ...) -> (B, ...).
        imag: B, likewise.
    """

    def __init__(self, real: nn.Module, imag: nn.Module):
        super().__init__()
        self.real, self.imag = real, imag

    def forward(self, x: Pair) -> Pair:
        return self.real(x[0]) - self.imag(x[1]), self.real(x[1]) + self.imag(x[0])


class PartsNorm(nn.Module):
    """Batch norms of the real and of the imaginary part, which do not know of each other."""

    def __init__(self, channels: int):
        super().__init__()
        self.real, self.imag = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Pair) -> Pair:
        return self.real(x[0]), self.imag(x[1])


class ComplexLayer(nn.Module):
    """Complex convolution, then norm and leaky ReLU of each part.

    Args:
        conv: what the convolution's two real ones are, nn.Conv2d or nn.ConvTranspose2d.
        in_channels: complex channels of the input.
        channels: complex channels of the output.
        kernel: bins; stride 2.
    """

    def __init__(self, conv: type[nn.Module], in_channels: int, channels: int, kernel: int):
        super().__init__()
        # 2 frames wide and padded on both sides: one frame more after each encoder, one less after each decoder
        parts = (conv(in_channels, channels, (kernel, 2), stride=(2, 1), padding=(0, 1)) for _ in range(2))
        self.conv = Complex(*parts)
        self.norm = PartsNorm(channels)

    def forward(self, x: Pair) -> Pair:  # (B, in_channels, F, N) -> (B, channels, F', N + 1 or N - 1)
        real, imag = self.norm(self.conv(x))
        return functional.leaky_relu(real, inplace=True), functional.leaky_relu(imag, inplace=True)


class FSMN(nn.Module):
    """A layer with a memory of the last positions along an axis, in place of recurrence.

        p = project(relu(linear(x)))        y[l] = x[l] + p[l] + sum over t < order of m[t] p[l - t]

    Args:
        channels: C.
        order: positions in the memory, the present one among them.
    """

    def __init__(self, channels: int, order: int):
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels, bias=False)
        self.memory = nn.Conv2d(channels, channels, (order, 1), groups=channels, bias=False)
        self.register_buffer("present", torch.eye(order)[:, -1:], persistent=False)  # (order, 1): p[l] itself

    def forward(self, x: Tensor) -> Tensor:  # (B, C, L, W) -> (B, C, L, W), memory along L
        p = self.project(self.linear(x.movedim(1, -1)).relu_())
        p = functional.pad(p, (0, 0, 0, 0, len(self.present) - 1, 0)).movedim(-1, 1)
        return x + functional.conv2d(p, self.memory.weight + self.present, groups=p.shape[1])


def complex_fsmn(channels: int, order: int) -> Complex:
    return Complex(FSMN(channels, order), FSMN(channels, order))


class ComplexSE(nn.Module):
    """Weigh each channel by all channels' means over bins and frames; each part has its own weight.

    Args:
        channels: C.
        reduction: by which the hidden layer is narrower.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        gates = (
            nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())
            for _ in range(2)
        )
        self.gates = Complex(*gates)

    def forward(self, x: Pair) -> Pair:
        real, imag = self.gates((x[0].mean((2, 3)), x[1].mean((2, 3))))
        return x[0] * real[..., None, None], x[1] * imag[..., None, None]


class ComplexUNet(nn.Module):
    """Encoders to one bin, memory along time, decoders back to all bins; from and to one channel.

    An FSMN along frequency goes before each encoder but the first and after each decoder but the last. The skips go
    through squeeze-and-excitation, and so do the decoders' outputs but for the last two.

    Args:
        bins: F.
        channels: C of all layers within.
        kernels: bins that each encoder sees; strides of 2 bins have to lead to one bin.
        order: of the FSMNs.
        reduction: of the squeeze-and-excitation.

    Raises:
        ValueError: the encoders do not end at one bin.
    """

    def __init__(self, bins: int, channels: int, kernels: tuple[int, ...], order: int, reduction: int):
        super().__init__()
        heights = [bins]
        for kernel in kernels:
            heights.append((heights[-1] - kernel) // 2 + 1)
        if heights[-1] != 1:
            raise ValueError(f"FRCRN: kernels {kernels} must bring {bins} bins to 1, they give {heights[1:]}")
        depth, heights = len(kernels), heights[::-1]
        back = [after - 2 * (before - 1) for before, after in pairwise(heights)]
        ins, outs = [1] + [channels] * (depth - 1), [channels] * (depth - 1) + [1]
        self.encoders = nn.ModuleList(
            ComplexLayer(nn.Conv2d, count, channels, kernel) for count, kernel in zip(ins, kernels, strict=True)
        )
        self.decoders = nn.ModuleList(
            ComplexLayer(nn.ConvTranspose2d, channels * (2 if i else 1), outs[i], back[i]) for i in range(depth)
        )
        self.fsmn_enc = nn.ModuleList(complex_fsmn(channels, order) for _ in range(depth))
        self.fsmn_dec = nn.ModuleList(complex_fsmn(channels, order) for _ in range(depth))
        self.se_enc = nn.ModuleList(ComplexSE(channels, reduction) for _ in range(depth))
        self.se_dec = nn.ModuleList(ComplexSE(channels, reduction) for _ in range(depth - 1))
        self.fsmn = nn.Sequential(complex_fsmn(channels, order), complex_fsmn(channels, order))
        self.linear = Complex(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
        # the published checkpoints have weights for these four, which nothing goes through
        for unused in (self.fsmn_enc[0], self.fsmn_dec[-1], self.se_enc[-1], self.se_dec[-1]):
            unused.requires_grad_(False)

    def forward(self, x: Pair) -> Pair:  # (B, 1, F, N) -> (B, 1, F, N)
        skips: list[Pair] = []
        for i, encoder in enumerate(self.encoders):
            x = encoder(self.fsmn_enc[i](x) if i else x)
            if i < len(self.encoders) - 1:
                skips.append(self.se_enc[i](x))
        real, imag = self.fsmn((x[0].transpose(2, 3), x[1].transpose(2, 3)))
        x = real.transpose(2, 3), imag.transpose(2, 3)
        for i, decoder in enumerate(self.decoders[:-1]):
            x = decoder(x)  # line by line, so that the large input is let go
            x = self.fsmn_dec[i](x)
            if i < len(self.decoders) - 2:
                x = self.se_dec[i](x)
            x = tuple(torch.cat(parts, 1) for parts in zip(x, skips.pop(), strict=True))
        return self.linear(self.decoders[-1](x))


def loud_level(signal: Tensor) -> Tensor:
    """RMS of the samples whose power is not below the mean: (B, T) -> (B, 1)."""
    power = signal.square()
    loud = power >= power.mean(-1, keepdim=True)
    return ((power * loud).sum(-1, keepdim=True) / loud.sum(-1, keepdim=True).clamp(min=1)).sqrt()


@MODELS.register_module()
class FRCRN(nn.Module):
    """Denoiser. Input "mixture", output "speech"; the defaults are those of the published FRCRN_SE_16K.

    The gates of the squeeze-and-excitation look at all frames, so that the network is not causal. Signals are brought
    to the level of the published inference and back, so that a factor on the input is one on the output. The
    published code frames a signal as it is and divides by the nearly zero window power at its two ends; here it has
    zeros around it, whole frames at both ends, and all samples have the same window power.

    Args:
        window_size, hop_size: of the spectra, in samples; square root of the Hann window.
        channels: of all layers within the U-Nets.
        kernels: bins that each encoder sees, see `ComplexUNet`; the decoders' follow from them.
        order: positions in the memory of each FSMN.
        reduction: of the squeeze-and-excitation.
        sample_rate: in Hz.
    """

    inputs, outputs = ("mixture",), ("speech",)
    windows = Windows(one_pass=20, window=10, stride=8, drop=1)  # published: whole up to 120 s, then 1 s

    def __init__(
        self,
        window_size: int = 640,
        hop_size: int = 320,
        channels: int = 128,
        kernels: tuple[int, ...] = (5, 5, 5, 5, 5, 5, 2),
        order: int = 20,
        reduction: int = 8,
        sample_rate: int = 16000,
    ):
        super().__init__()
        if window_size % hop_size or window_size < 2 * hop_size:
            raise ValueError(f"FRCRN: window_size must be 2, 3, ... times hop_size, got {window_size}, {hop_size}")
        self.window_size, self.hop_size, self.sample_rate = window_size, hop_size, sample_rate
        self.register_buffer("window", torch.hann_window(window_size).sqrt(), persistent=False)
        bins = window_size // 2 + 1
        self.unet = ComplexUNet(bins, channels, tuple(kernels), order, reduction)
        self.unet2 = ComplexUNet(bins, channels, tuple(kernels), order, reduction)

    def forward(self, mixture: Tensor) -> Tensor:  # (B, T) -> (B, 1, T)
        gain = LEVEL / loud_level(mixture).clamp(min=QUIETEST)
        length, before = mixture.shape[-1], self.window_size - self.hop_size
        after = before + -(length + before) % self.hop_size
        spectra = self.analyse(functional.pad(mixture * gain, (before, after)))
        speech = self.synthesise(self.mask(spectra) * spectra)
        return (speech[:, before : before + length] / gain).unsqueeze(1)

    def mask(self, spectra: Tensor) -> Tensor:
        """(B, F, N) complex -> (B, F, N) complex, real and imaginary parts within -2 to 2."""
        first = self.unet((spectra.real.unsqueeze(1), spectra.imag.unsqueeze(1)))
        second = self.unet2(first)
        real, imag = (one.tanh() + two.tanh() for one, two in zip(first, second, strict=True))
        return torch.complex(real.to(self.window.dtype), imag.to(self.window.dtype)).squeeze(1)

    def analyse(self, signal: Tensor) -> Tensor:
        """Spectra of the whole frames of a signal: (B, T) -> (B, F, N) complex."""
        return frames_of(signal, self.window, self.hop_size)

    def synthesise(self, spectra: Tensor) -> Tensor:
        """(B, F, N) complex -> (B, (N - 1) * hop + window); its two ends are under one window only and fade."""
        return overlap_add(spectra, self.window, self.hop_size)
