"""MossFormer2: separation of speakers in the time domain, and enhancement of full-band speech.

MossFormer2: Combining Transformer and RNN-Free Recurrent Network for Enhanced Time-Domain Monaural Speech Separation,
ICASSP 2024, arXiv 2312.11825. The attention is that of FLASH (Transformer Quality in Linear Time, ICML 2022, arXiv
2202.10447), the recurrence a feedforward sequential memory network (FSMN, arXiv 1803.05030).

    FFConv(x)   = a + depthwise(a),  a = SiLU(linear(norm(x)))
    attention   : s = x with the first half of the channels one frame late
                  v, u = FFConv(s);   q, k, q', k' = rotary(gamma_i * FFConv(s) + beta_i)
                  A(z) = relu(q k^T / G)^2 z within groups of G frames  +  q' (k'^T z) / T over all T frames
                  y = x + FFConv((A(u) * v) * sigmoid(A(v) * u))
    recurrence  : e = norm(PReLU(W x));   y = x + W' norm(FFConv(e) * FSMN(FFConv(e)) + e)
    FSMN(u)     = u + memory(project(relu(linear(u)))),   memory: convolutions over time, one filter for each channel
    mask net    : norm, linear, + position code, N times (attention, recurrence), norms, + the value before them,
                  one gated output for each speaker, ReLU

All modules work on (B, T frames, C). Separation masks a learned filter bank at 2000 frames a second (16 kHz),
enhancement the spectrum at 125 (48 kHz) from log-mel features. Neither is causal: norms and attention take in all
frames.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from toolkit.audio.kaldi import add_deltas, log_mel_filterbank
from toolkit.audio.windows import Windows
from toolkit.modules.packed_weight import PackedLinear, product

TAPS = 17  # of the convolution in every FFConv
SPAN = 8  # groups of frames that linear layers take at once: matrix products like larger pieces than caches do
FULL_SCALE = 32768.0  # what 1.0 is in the features and spectra of the enhancement model


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """`depthwise` without dilation."""
    # as a picture one row high whose memory is channels-last, without a copy
    picture, filters = x.transpose(1, 2).unsqueeze(2), weight.to(x.dtype)[:, None, None]
    out = F.conv2d(picture, filters, padding=(0, weight.shape[1] // 2), groups=len(weight))
    return out.squeeze(2).transpose(1, 2)


class TrainableConvolve(torch.autograd.Function):
    """`convolve` with gradients made of fast operators; PyTorch's own are slow on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolve(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        frames, taps = x.shape[1], weight.shape[1]
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            for_x = convolve(gradient.to(x.dtype), weight.flip(1))
        if ctx.needs_input_grad[1]:
            padded = F.pad(x, (0, 0, taps // 2, taps // 2))
            sums = [(padded[:, tap : tap + frames] * gradient).sum((0, 1)) for tap in range(taps)]
            for_weight = torch.stack(sums, 1).to(weight.dtype)
        return for_x, for_weight


def depthwise(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolution over time of each channel by itself, zeros around: (B, T, C), (C, taps), taps odd -> (B, T, C).

    A dilated one takes `dilation` successive frames as further channels, for which there is fast code on a CPU.
    """
    batch, frames, channels = x.shape
    if dilation > 1:
        x = F.pad(x, (0, 0, 0, -frames % dilation)).reshape(batch, -1, dilation * channels)
        weight = weight.repeat(dilation, 1)
    out = TrainableConvolve.apply(x, weight) if torch.is_grad_enabled() else convolve(x, weight)
    return out.reshape(batch, -1, channels)[:, :frames]


def rotation(frames: int, rotary_dim: int, device: torch.device | None = None) -> Tensor:
    """(T, rotary_dim / 2) complex numbers that rotary embedding (RoFormer, arXiv 2104.09864) multiplies channels by."""
    rates = 10000.0 ** (-torch.arange(0, rotary_dim, 2, device=device).float() / rotary_dim)
    angles = torch.arange(frames, device=device).float()[:, None] * rates
    return torch.complex(angles.cos(), angles.sin())


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn neighbouring channels (2i, 2i + 1) of (..., T, C) by the angles of `rotation`; channels past them stay."""
    pairs, rest = x[..., : 2 * turn.shape[-1]].unflatten(-1, (-1, 2)), x[..., 2 * turn.shape[-1] :]
    turned = torch.view_as_real(torch.view_as_complex(pairs.to(torch.promote_types(x.dtype, torch.float32))) * turn)
    return torch.cat((turned.flatten(-2).to(x.dtype), rest), -1)


def joint_attention(
    quad_q: Tensor, lin_q: Tensor, quad_k: Tensor, lin_k: Tensor, values: Sequence[Tensor], group_size: int
) -> Iterator[Tensor]:
    """Quadratic attention within groups plus linear attention over all frames, one group after the other.

    Args:
        quad_q, lin_q, quad_k, lin_k: (B, T, D), rotated.
        values: (B, G, E) for each group.
        group_size: G frames in a group; the last may be shorter.

    Yields:
        (B, G, E), T frames in all.
    """
    groups = [tensor.split(group_size, 1) for tensor in (quad_q, quad_k, lin_q, lin_k)]
    weights = ((q @ k.transpose(1, 2) / group_size).relu().square() for q, k in zip(*groups[:2], strict=True))
    frames = lin_k.shape[1]
    if frames <= 2 * group_size and not torch.is_grad_enabled():  # as many operations, in fewer calls
        whole, wide = torch.cat(values, 1), lin_q @ lin_k.transpose(1, 2) / frames
        for i, near in enumerate(weights):
            group = slice(i * group_size, (i + 1) * group_size)
            wide[:, group, group] += near
            yield product(wide[:, group], whole)
        return
    summary = sum(product(k.transpose(1, 2), value) for k, value in zip(groups[3], values, strict=True)) / frames
    for near, q, value in zip(weights, groups[2], values, strict=True):
        if torch.is_grad_enabled():
            yield torch.baddbmm(q @ summary, near, value)
        else:  # one product for two, whose copies would be kept for the backward pass
            yield product(torch.cat((near, q), 2), torch.cat((value, summary), 1))


class ScaleNorm(nn.Module):
    """x / max(|x| / sqrt(C), 1e-5) * g with one learned g: (..., C) -> (..., C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.scale = channels**-0.5

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.g / (x.norm(dim=-1, keepdim=True) * self.scale).clamp(min=1e-5))


class OneGroupNorm(nn.Module):
    """Group norm with one group, over all frames and channels: (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[1:], eps=1e-8), self.weight)


class TimeNorm(nn.Module):
    """Instance norm over time of the present input, also in inference: (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return torch.addcmul(self.bias, x, self.weight * (x.square().mean(1, keepdim=True) + 1e-5).rsqrt())


class Pointwise(nn.Conv1d):
    """Convolution with one tap on (B, T, C): a linear layer whose weights have a convolution's shape."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[..., 0], self.bias)

    def inference_form(self) -> PackedLinear:
        """What `deploy` puts in its place."""
        return PackedLinear(self.weight[..., 0], self.bias)


class FFConv(nn.Module):
    """Norm, linear, SiLU, then the result plus its depthwise convolution over time: (B, T, C_in) -> (B, T, C_out)."""

    def __init__(self, in_channels: int, out_channels: int, norm: type[nn.Module]):
        super().__init__()
        self.norm = norm(in_channels)
        self.linear = nn.Linear(in_channels, out_channels)
        self.act = nn.SiLU()
        self.conv = nn.Conv1d(out_channels, out_channels, TAPS, groups=out_channels, bias=False)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.activate(x))

    def activate(self, x: Tensor) -> Tensor:
        """All but the convolution: (B, T, C_in) -> (B, T, C_out)."""
        return self.act(self.linear(self.norm(x)))

    def mix(self, x: Tensor) -> Tensor:
        """The rest: (B, T, C_out) -> (B, T, C_out)."""
        weight = self.conv.weight[:, 0]
        if not self.is_deployed:
            weight = weight + F.pad(weight.new_ones(1), (TAPS // 2, TAPS // 2))
        return self.dropout(depthwise(x, weight))

    def pieces(self, x: Tensor, frames: int) -> Sequence[Tensor]:
        """`forward` in pieces of so many frames; in inference made one by one, within the processor's cache."""
        if torch.is_grad_enabled():
            return self(x).split(frames, 1)
        pieces, reach, span = [], TAPS // 2, SPAN * frames
        for start in range(0, x.shape[1], span):
            first = max(0, start - reach)
            linear = self.linear(self.norm(x[:, first : start + span + reach]))
            for at in range(start, min(start + span, x.shape[1]), frames):
                low = max(0, at - reach)
                piece = self.mix(self.act(linear[:, low - first : at + frames + reach - first]))
                pieces.append(piece[:, at - low : at - low + frames])
        return pieces

    @property
    def is_deployed(self) -> bool:
        return isinstance(self.linear, PackedLinear)

    def switch_to_deploy(self) -> None:
        """Take the activation into the linear layer, and what the convolution is added to into its middle tap."""
        if not self.is_deployed:
            self.linear, self.act = PackedLinear.of(self.linear, "silu"), nn.Identity()
            self.conv.weight.data[..., TAPS // 2] += 1


class GatedAttention(nn.Module):
    """Gated attention with one head, quadratic in groups and linear over all frames: (B, T, dim) -> (B, T, dim).

    Args:
        dim: C of input and output.
        query_key_dim: channels of queries and keys.
        group_size: frames of a group.
        expansion: channels of the values, both halves together, for one of the input.
    """

    def __init__(self, dim: int = 512, query_key_dim: int = 128, group_size: int = 256, expansion: float = 4.0):
        super().__init__()
        hidden = int(dim * expansion)
        self.group_size, self.rotary_dim = group_size, min(32, query_key_dim)
        self.to_hidden = FFConv(dim, hidden, ScaleNorm)
        self.to_qk = FFConv(dim, query_key_dim, ScaleNorm)
        self.gamma = nn.Parameter(torch.empty(4, query_key_dim).normal_(std=0.02))
        self.beta = nn.Parameter(torch.zeros(4, query_key_dim))
        self.to_out = FFConv(hidden // 2, dim, ScaleNorm)

    def forward(self, x: Tensor, turn: Tensor | None = None) -> Tensor:
        """`turn`: what `rotation` gives, where blocks share it."""
        if turn is None:
            turn = rotation(x.shape[1], self.rotary_dim, x.device)
        late, same = x.chunk(2, -1)
        shifted = torch.cat((F.pad(late, (0, 0, 1, -1)), same), -1)
        heads = torch.addcmul(self.beta[:, None], self.to_qk(shifted).unsqueeze(1), self.gamma[:, None])
        quad_q, lin_q, quad_k, lin_k = rotate(heads, turn).unbind(1)
        hidden = self.to_hidden.pieces(shifted, self.group_size)
        attended = joint_attention(quad_q, lin_q, quad_k, lin_k, hidden, self.group_size)
        gated = (self.gate(*pair) for pair in zip(attended, hidden, strict=True))
        out = []
        while some := list(islice(gated, SPAN)):
            out.append(self.to_out.activate(torch.cat(some, 1)))
        return x + self.to_out.mix(torch.cat(out, 1))

    @staticmethod
    def gate(attended: Tensor, hidden: Tensor) -> Tensor:
        """(B, T, 2 E), (B, T, 2 E), v before u in both -> (B, T, E)."""
        (att_v, att_u), (v, u) = attended.chunk(2, -1), hidden.chunk(2, -1)
        return att_u * v * torch.sigmoid(att_v * u)


class MemoryConv(nn.Conv2d):
    """Convolution over time with a filter for each channel: (B, T, several * C) -> (B, T, C).

    As published, where several maps come in one after the other, output j reads the `several` NEIGHBOURING channels
    from several * j on, not channel j of each map.
    """

    def __init__(self, channels: int, taps: int, several: int = 1, dilation: int = 1):
        super().__init__(several * channels, channels, (taps, 1), dilation=dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        each = depthwise(x, self.weight.flatten(0, 1)[..., 0], self.dilation[0])
        several = self.weight.shape[1]
        return sum((each[..., i::several] for i in range(1, several)), each[..., ::several])


class DilatedMemory(nn.Module):
    """Densely connected memory: layer i reads the maps of all before it, the newest first, with dilation 2^i."""

    def __init__(self, channels: int, taps: int, depth: int):
        super().__init__()
        self.convs = nn.ModuleList(MemoryConv(channels, taps, i + 1, 2**i) for i in range(depth))
        self.norms = nn.ModuleList(TimeNorm(channels) for _ in range(depth))
        self.slopes = nn.ModuleList(nn.PReLU(channels) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, C)
        maps = x
        for conv, norm, slope in zip(self.convs, self.norms, self.slopes, strict=True):
            x = slope(norm(conv(maps)).transpose(1, 2)).transpose(1, 2)
            if conv is not self.convs[-1]:
                maps = torch.cat((x, maps), -1)
        return x


class PlainMemory(MemoryConv):
    """The input plus one convolution of it."""

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, C)
        return x + super().forward(x)


class FSMN(nn.Module):
    """Feedforward sequential memory: (B, T, C) -> (B, T, C).

    Args:
        channels: C.
        order: frames that the memory reaches to either side, the present one included.
        depth: dilated memory layers; 0 for the plain memory.
    """

    def __init__(self, channels: int, order: int = 20, depth: int = 2):
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels, bias=False)
        taps = 2 * order - 1
        self.memory = DilatedMemory(channels, taps, depth) if depth else PlainMemory(channels, taps)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.memory(self.project(self.linear(x).relu()))


class GatedFSMN(nn.Module):
    """The recurrence without a recurrent network: an FSMN between a bottleneck's layers, gated: (B, T, dim) -> same.

    Args:
        dim: C of input and output.
        inner_dim: channels within.
        order, depth: see `FSMN`.
    """

    def __init__(self, dim: int = 512, inner_dim: int = 256, order: int = 20, depth: int = 2):
        super().__init__()
        self.entry = Pointwise(dim, inner_dim)
        self.slope = nn.PReLU()
        self.entry_norm = nn.LayerNorm(inner_dim)
        self.to_u = FFConv(inner_dim, inner_dim, nn.LayerNorm)
        self.to_v = FFConv(inner_dim, inner_dim, nn.LayerNorm)
        self.fsmn = FSMN(inner_dim, order, depth)
        self.exit_norm = nn.LayerNorm(inner_dim)
        self.exit = Pointwise(inner_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        entry = self.entry_norm(self.slope(self.entry(x)))
        gated = torch.addcmul(entry, self.to_v(entry), self.fsmn(self.to_u(entry)))
        return x + self.exit(self.exit_norm(gated))


class Block(nn.Module):
    """Attention, then recurrence."""

    def __init__(self, dim: int, attention: dict, memory: dict):
        super().__init__()
        self.attention = GatedAttention(dim, **attention)
        self.recurrence = GatedFSMN(dim, **memory)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        return self.recurrence(self.attention(x, turn))


class MaskNet(nn.Module):
    """Features to masks: (B, T, in_channels) -> each (B, T, out_channels), at least 0 and without an upper limit.

    Args:
        in_channels, out_channels: of features and masks.
        num_masks: masks for which there are weights.
        num_blocks: pairs of attention and recurrence.
        dim: C between them, even.
        attention: further arguments of each `GatedAttention`.
        memory: further arguments of each `GatedFSMN`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_masks: int,
        num_blocks: int,
        dim: int,
        attention: dict | None = None,
        memory: dict | None = None,
    ):
        super().__init__()
        self.dim = dim
        self.norm = OneGroupNorm(in_channels)
        self.entry = Pointwise(in_channels, dim, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.blocks = nn.ModuleList(Block(dim, attention or {}, memory or {}) for _ in range(num_blocks))
        self.block_norm = nn.LayerNorm(dim, eps=1e-6)
        self.last_norm = OneGroupNorm(dim)
        self.slope = nn.PReLU()
        self.branches = Pointwise(dim, dim * num_masks)  # the masks' channels one mask after the other
        self.value = Pointwise(dim, dim)
        self.gate = Pointwise(dim, dim)
        self.mask = Pointwise(dim, out_channels, bias=False)

    def position_code(self, frames: int, like: Tensor) -> Tensor:
        """(T, dim): sines, then cosines, rates 10000^(-2i / dim)."""
        angles = rotation(frames, self.dim, like.device)
        return torch.cat((angles.imag, angles.real), -1).to(like.dtype) * self.position_scale

    def forward(self, x: Tensor, masks: int | None = None) -> Iterator[Tensor]:
        """`masks`: how many are wanted, the first ones."""
        x = self.entry(self.norm(x))
        before = x = x + self.position_code(x.shape[1], x)
        turn = rotation(x.shape[1], self.blocks[0].attention.rotary_dim, x.device) if len(self.blocks) else None
        for block in self.blocks:
            x = block(x, turn)
        x = self.slope(self.last_norm(self.block_norm(x)) + before)
        parts = zip(
            self.branches.weight.flatten(1).split(x.shape[-1]), self.branches.bias.split(x.shape[-1]), strict=True
        )
        for weight, bias in list(parts)[:masks]:
            branch = F.linear(x, weight, bias)
            yield self.mask(self.value(branch).tanh() * self.gate(branch).sigmoid()).relu()


@MODELS.register_module()
class MossFormer2SS(nn.Module):
    """Separate the speakers of a recording: (B, T) -> (B, num_speakers, T). The outputs' level is open.

    The defaults are the published MossFormer2_SS_16K.

    Args:
        num_speakers: outputs.
        num_blocks: pairs of attention and recurrence.
        dim: channels between them, even.
        embed_dim: filters of the encoder; None for `dim`.
        kernel_size, stride: of the encoder, in samples.
        attention: further arguments of each `GatedAttention`: query_key_dim, group_size, expansion.
        memory: further arguments of each `GatedFSMN`: inner_dim, order, depth.
        multiply: False for the published WHAMR! model, which decodes the masks themselves instead of their product with
            the encoder's output.
        sample_rate: in Hz.
    """

    inputs = ("mixture",)

    def __init__(
        self,
        num_speakers: int = 2,
        num_blocks: int = 24,
        dim: int = 512,
        embed_dim: int | None = None,
        kernel_size: int = 16,
        stride: int = 8,
        attention: dict | None = None,
        memory: dict | None = None,
        multiply: bool = True,
        sample_rate: int = 16000,
    ):
        super().__init__()
        embed_dim = embed_dim or dim
        self.sample_rate, self.multiply = sample_rate, multiply
        self.outputs = tuple(f"speaker {i + 1}" for i in range(num_speakers))
        self.windows = Windows(one_pass=2, window=2, stride=1.5, drop=0.25, least=2)
        self.encoder = nn.Conv1d(1, embed_dim, kernel_size, stride, bias=False)
        self.mask_net = MaskNet(embed_dim, embed_dim, num_speakers, num_blocks, dim, attention, memory)
        self.decoder = nn.ConvTranspose1d(embed_dim, 1, kernel_size, stride, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        (size,), (stride,), length = self.encoder.kernel_size, self.encoder.stride, mixture.shape[-1]
        padded = F.pad(mixture, (0, max(0, size - length)))
        coded = (padded.unfold(-1, size, stride) @ self.encoder.weight[:, 0].t()).relu()  # (B, frames, embed_dim)
        masks = self.mask_net(coded)
        return torch.stack([self.decode(mask * coded if self.multiply else mask, length) for mask in masks], 1)

    def decode(self, coded: Tensor, length: int) -> Tensor:
        """(B, frames, embed_dim) -> (B, length); samples past the last frame are 0."""
        (size,), (stride,) = self.decoder.kernel_size, self.decoder.stride
        pieces = coded @ self.decoder.weight[:, 0]  # (B, frames, size), added where they overlap
        covered = (coded.shape[1] - 1) * stride + size
        signal = F.fold(pieces.transpose(1, 2), (1, covered), (1, size), stride=(1, stride))[:, 0, 0]
        return F.pad(signal, (0, length - covered))


@MODELS.register_module()
class MossFormer2SE(nn.Module):
    """Remove noise from full-band speech: (B, T) -> (B, 1, T).

    The defaults are the published MossFormer2_SE_48K. Its mask net has weights for a second mask that nothing uses.

    Args:
        num_blocks, dim, attention, memory: see `MossFormer2SS`; the memory is plain by default.
        num_mels: mel bands of the features.
        window_size, hop_size: of features and spectra, in samples.
        dither: standard deviation in 16-bit steps of the noise that is added for the features. The published inference
            adds 1.0, which makes its output a little different each time.
        sample_rate: in Hz.
    """

    inputs, outputs = ("mixture",), ("speech",)

    def __init__(
        self,
        num_blocks: int = 24,
        dim: int = 512,
        attention: dict | None = None,
        memory: dict | None = None,
        num_mels: int = 60,
        window_size: int = 1920,
        hop_size: int = 384,
        dither: float = 0.0,
        sample_rate: int = 48000,
    ):
        super().__init__()
        self.sample_rate, self.num_mels, self.dither = sample_rate, num_mels, dither
        self.window_size, self.hop_size = window_size, hop_size
        self.windows = Windows(one_pass=20, window=4, stride=3, drop=0.5)
        memory = {"depth": 0, **(memory or {})}
        self.mask_net = MaskNet(3 * num_mels, window_size // 2 + 1, 2, num_blocks, dim, attention, memory)
        self.register_buffer("window", torch.hamming_window(window_size, periodic=False), persistent=False)

    def forward(self, mixture: Tensor) -> Tensor:
        length = mixture.shape[-1]
        covered = max(0, length - self.window_size) + self.window_size
        covered += -(covered - self.window_size) % self.hop_size  # whole frames, so that the end is not lost
        return self.enhance(F.pad(mixture, (0, covered - length)))[:, None, :length]

    def enhance(self, signal: Tensor) -> Tensor:
        """(B, T) -> (B, T), T >= window_size; as published, samples past the last whole frame come out as 0."""
        signal = signal * FULL_SCALE
        spectrum = torch.stft(
            signal, self.window_size, self.hop_size, window=self.window, center=False, return_complex=True
        )
        spectrum = spectrum * self.mask(self.features(signal)).transpose(1, 2)
        size = (spectrum.shape[-1] - 1) * self.hop_size + self.window_size
        out = torch.istft(spectrum, self.window_size, self.hop_size, window=self.window, center=False, length=size)
        return F.pad(out / FULL_SCALE, (0, signal.shape[-1] - size))

    def features(self, signal: Tensor) -> Tensor:
        """(B, T) in 16-bit steps -> (B, frames, 3 * num_mels): log mel energies, their deltas, the deltas of these."""
        mels = log_mel_filterbank(signal, self.sample_rate, self.num_mels, self.window, self.hop_size, self.dither)
        return add_deltas(mels)

    def mask(self, features: Tensor) -> Tensor:
        """(B, frames, 3 * num_mels) -> (B, frames, window_size / 2 + 1)."""
        return next(self.mask_net(features, 1))
