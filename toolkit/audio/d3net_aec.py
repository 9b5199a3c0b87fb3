"""D3Net AEC: one causal network that takes the echo of a loudspeaker and noise out of a microphone's signal.

End-to-End Complex-Valued Multidilated Convolutional Neural Network for Joint Acoustic Echo Cancellation and Noise
Suppression, ICASSP 2022, arXiv 2110.00745. Blocks after Densely Connected Multi-dilated Convolutional Networks for
Dense Prediction Tasks, CVPR 2021, arXiv 2011.11844.

What the paper's abstract says is kept: no adaptive filter in front, complex masks, pseudo-complex D3 blocks, full
resolution in time and frequency without pooling, one mask for echo and one for noise. Its sizes, features, mask
formulas and loss are not in the abstract and its code is not public; what follows is this project's own.

With Y the microphone's spectrum, X the reference's, K reference frames in sight and c(Z) = |Z|^0.3 Z / |Z|

    G_k = <Y[n] conj(X[n - k])> / <|X[n - k]|^2>     running means <> over the last seconds
    R_k = G_k X[n - k]                   the reference, matched to the microphone in level and phase
    C_k = |<Y conj(X)>|^2 / (<|Y|^2> <|X|^2>)        its coherence with the microphone

    features  c(Y), c(R_k), c(Y) conj(c(R_k)), log |Y|, log |R_k|, C_k  for k = 0 ... K - 1
    E = M Y + sum_k W_k R_k              the echo: a mask on the microphone, and K masks on the reference, which
                                         make up for the time between loudspeaker and microphone
    N = M' (Y - E)                       the noise: a mask on the rest
    S = Y - E - N                        the speech

with the complex M, M', W_k from the network, M and M' with tanh on both parts. Matching is cross-correlation in each
bin, an alignment: nothing is adapted to what is left over, and what is subtracted is up to the masks.
"""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.audio.spectral import SpectralModel
from toolkit.modules.conv.multidilated import densely_connected

COMPRESSION = 0.3
TINY = 1e-8  # power of a bin
HORIZON = 120  # frames of the running means; the first that many weigh equally
CAUTION = 4  # frames after which a match counts half


class Past:
    """What the causal layers of a network remember of earlier frames, in the order in which the layers run.

    Args:
        state: what `kept` was at the end of the signal's last piece; None at its start, where all before is zero.
    """

    def __init__(self, state: Iterable[Tensor] | None):
        self._state = None if state is None else iter(state)
        self.kept: list[Tensor] = []

    def before(self, x: Tensor, frames: int) -> Tensor:
        """(..., N) -> (..., frames + N): x behind the frames that came before it."""
        # padding keeps the layout "channels last", concatenation would not
        longer = nn.functional.pad(x, (frames, 0)) if self._state is None else torch.cat((next(self._state), x), -1)
        self.kept.append(longer[..., longer.shape[-1] - frames :].detach().clone())
        return longer

    def value(self) -> Any:
        """What `keep` got at the end of the last piece; None at the start."""
        return None if self._state is None else next(self._state)

    def keep(self, value: Any) -> None:
        self.kept.append(value)


class PseudoComplexConv(nn.Conv2d):
    """A convolution whose output's real and imaginary parts each are a real convolution of both parts of the input.

    A complex convolution ties the four real ones to two; this one leaves them free. C complex channels are 2 C real
    ones, all real parts before all imaginary ones. Along time only past frames are looked at.

    Args:
        in_channels: real channels in, twice the complex ones.
        out_channels: real channels out, twice the complex ones.
        kernel_size: (bins, frames); bins odd.
        dilation: of both axes.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int], dilation: int = 1):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=(dilation * (kernel_size[0] // 2), 0),
            dilation=dilation,
        )

    def forward(self, x: Tensor, past: Past) -> Tensor:  # (B, C_in, F, N) -> (B, C_out, F, N)
        frames = self.dilation[1] * (self.kernel_size[1] - 1)
        return super().forward(past.before(x, frames) if frames else x)


class PseudoComplexD2(nn.Module):
    """Dense block in which the connection from layer i, counted from the block's input 0, has dilation 2^i.

    A layer thus sees each earlier one at the resolution which that one's receptive field allows. Only the last
    layer's output leaves.

    Args:
        in_channels: complex channels of the input.
        growth: complex channels of a layer.
        layers: number of layers.
        kernel_size: (bins, frames).
    """

    def __init__(self, in_channels: int, growth: int, layers: int, kernel_size: tuple[int, int]):
        super().__init__()
        self.growth = growth
        channels = [in_channels] + [growth] * (layers - 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2 * count) for count in channels)
        self.convs = nn.ModuleList(
            PseudoComplexConv(2 * count, 2 * growth * (layers - i), kernel_size, 2**i)
            for i, count in enumerate(channels)
        )

    def forward(self, x: Tensor, past: Past) -> Tensor:  # (B, 2 C, F, N) -> (B, 2 growth, F, N)
        def layer(i: int, x: Tensor) -> Tensor:
            return self.convs[i](self.norms[i](x).relu_(), past)

        return densely_connected(x, len(self.convs), 2 * self.growth, layer)


class PseudoComplexD3(nn.Module):
    """D2 blocks connected as densely as the layers in each.

    Args:
        in_channels: complex channels of the input.
        growth: complex channels of the output.
        layers: layers of each D2 block.
        blocks: number of D2 blocks.
        kernel_size: (bins, frames).
    """

    def __init__(self, in_channels: int, growth: int, layers: int, blocks: int, kernel_size: tuple[int, int]):
        super().__init__()
        self.growth = growth
        channels = [in_channels] + [growth] * (blocks - 1)
        self.blocks = nn.ModuleList(
            PseudoComplexD2(count, growth * (blocks - i), layers, kernel_size) for i, count in enumerate(channels)
        )

    def forward(self, x: Tensor, past: Past) -> Tensor:  # (B, 2 C, F, N) -> (B, 2 growth, F, N)
        return densely_connected(x, len(self.blocks), 2 * self.growth, lambda i, x: self.blocks[i](x, past))


def compress(spectra: Tensor) -> Tensor:
    """Magnitudes to the power of 0.3, phases kept; complex, any shape."""
    return spectra * (spectra.real**2 + spectra.imag**2 + 1e-9) ** ((COMPRESSION - 1) / 2)


def to_parts(spectra: Tensor) -> Tensor:
    """(B, C, F, N) complex -> (B, 2 C, F, N) real."""
    return torch.cat((spectra.real, spectra.imag), 1)


class Matching(nn.Module):
    """Bring past frames of a reference to the level and phase that they have in a microphone's spectrum.

    Args:
        taps: reference frames K in sight of a microphone frame.
    """

    def __init__(self, taps: int):
        super().__init__()
        self.taps = taps

    @torch.no_grad()
    def forward(self, microphone: Tensor, reference: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Matched reference and coherence, frames 0 ... K - 1 ago.

        Args:
            microphone, reference: (B, 1, F, N) complex.
            past: of the signal.

        Returns:
            (B, K, F, N) complex, (B, K, F, N) from 0 to 1.
        """
        reference = past.before(reference, self.taps - 1).unfold(-1, microphone.shape[-1], 1)
        reference = reference.flip(3)[:, 0].transpose(1, 2)  # (B, K, F, N): k frames ago
        near, far = microphone.abs().square(), reference.abs().square()
        products = torch.cat((to_parts(microphone * reference.conj()), far, near), 1)
        means, count = past.value() or (torch.zeros_like(products[..., 0]), 0)
        history, trust = [], []
        for product in products.unbind(-1):
            count = min(count + 1, HORIZON)
            means = means.lerp(product, 1 / count)
            history.append(means)
            trust.append(count / (count + CAUTION))
        past.keep((means, count))
        real, imag, far, near = torch.stack(history, -1).split([self.taps] * 3 + [1], 1)
        cross = torch.complex(real, imag)
        trust = far.new_tensor(trust)
        return trust * cross / (far + TINY) * reference, trust * cross.abs().square() / (far * near + TINY**2)


@MODELS.register_module()
class D3NetAEC(SpectralModel):
    """Speech, echo and noise of a microphone's signal, with what was played on the loudspeaker known.

    Inputs "microphone" and "reference", outputs "speech", "echo" and "noise", which add up to the microphone. The
    echo may come from 0 to about `taps` frames after the reference; what is later than that is left to the masks on
    the microphone.

    Args:
        channels: complex channels between the D3 blocks, and the growth of each.
        depth: number of D3 blocks, each with a residual connection.
        layers: layers in each D2 block; dilations go up to 2^(layers - 1).
        blocks: D2 blocks in each D3 block.
        taps: reference frames K in sight of a microphone frame.
        kernel_size: (bins, frames) of all but the 1x1 convolutions.
        window_size, hop_size, sample_rate: of the spectra, see `SpectralModel`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        layers: int,
        blocks: int,
        taps: int,
        kernel_size: tuple[int, int] = (3, 3),
        window_size: int = 512,
        hop_size: int = 256,
        sample_rate: int = 16000,
    ):
        super().__init__(window_size, hop_size, sample_rate, ("microphone", "reference"), ("speech", "echo", "noise"))
        self.matching = Matching(taps)
        features = 2 * (1 + 2 * taps) + 1 + 2 * taps
        self.feature_norm = nn.BatchNorm2d(features)
        self.stem = PseudoComplexConv(features, 2 * channels, kernel_size)
        self.blocks = nn.ModuleList(
            PseudoComplexD3(channels, channels, layers, blocks, kernel_size) for _ in range(depth)
        )
        self.norm = nn.BatchNorm2d(2 * channels)
        self.head = PseudoComplexConv(2 * channels, 2 * (2 + taps), (1, 1))
        with torch.no_grad():
            self.head.weight *= 0.1  # near to no echo and no noise
            self.head.bias.zero_()

    def core(self, spectra: Tensor, state: Any) -> tuple[Tensor, list]:  # (B, 2, F, N) -> (B, 3, F, N)
        past = Past(state)
        microphone = spectra[:, :1]
        matched, coherence = self.matching(microphone, spectra[:, 1:], past)
        echo_mask, noise_mask, reference_masks = self.masks(microphone, matched, coherence, past)
        echo = echo_mask * microphone + (reference_masks * matched).sum(1, keepdim=True)
        noise = noise_mask * (microphone - echo)
        return torch.cat((microphone - echo - noise, echo, noise), 1), past.kept

    def masks(
        self, microphone: Tensor, matched: Tensor, coherence: Tensor, past: Past
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The masks of echo, of noise (both (B, 1, F, N)) and on the reference (B, K, F, N), all complex."""
        near, far = compress(microphone), compress(matched)
        levels = torch.log(torch.cat((microphone, matched), 1).abs() + 1e-4)
        features = torch.cat((to_parts(torch.cat((near, far, near * far.conj()), 1)), levels, coherence), 1)
        x = self.stem(self.feature_norm(features.contiguous(memory_format=torch.channels_last)), past)
        for block in self.blocks:
            x = x + block(x, past)
        real, imag = self.head(self.norm(x).relu_(), past).float().chunk(2, 1)
        bounded = torch.complex(real[:, :2].tanh(), imag[:, :2].tanh())
        return bounded[:, :1], bounded[:, 1:], torch.complex(real[:, 2:].contiguous(), imag[:, 2:].contiguous())


@MODELS.register_module()
class DualMaskLoss(nn.Module):
    """Log of the squared error of speech, echo and noise against the microphone's energy, so that both masks learn.

        sum over outputs of  weight * 10 log10(|estimate - target|^2 / |microphone|^2 + 10^(-limit / 10))

    with the microphone as the sum of the targets. Unlike SI-SDR it is defined where a target is silence: far-end
    single talk then asks for an output of `limit` dB below the microphone.

    Args:
        weights: of speech, echo and noise.
        limit: in dB, what pulls no more.
    """

    def __init__(self, weights: tuple[float, float, float] = (1.0, 0.3, 0.1), limit: float = 30.0):
        super().__init__()
        self.weights, self.limit = weights, limit

    def forward(self, estimates: Tensor, targets: Tensor) -> Tensor:  # (B, 3, T), (B, 3, T) -> ()
        energy = targets.sum(1, keepdim=True).square().sum(-1) + 1e-8
        error = (estimates - targets).square().sum(-1) / energy
        decibels = 10 * torch.log10(error + 10 ** (-self.limit / 10))
        return (decibels * decibels.new_tensor(self.weights)).sum(1).mean()
