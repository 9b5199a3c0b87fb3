"""SGConv: a convolution as long as the sequence, from few parameters, whose kernel fades with distance.

What Makes Convolutional Models Great on Long Sequence Modeling?, ICLR 2023, arXiv 2210.09298.

    k = [k_0 * a^S, up(k_1) * a^(S-1), up_2(k_2) * a^(S-2), up_4(k_3) * a^(S-3), ...] / norm
    y = linear(gelu(k * x + d x))

All pieces k_i have the same few taps and are stretched by 1, 1, 2, 4, ... (linear interpolation), so that their number
grows with the logarithm of the length. a is 2 or more. The convolution is taken by FFT.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.modules.cached_kernel import CachesKernel
from toolkit.ops.precision import wide


@MODELS.register_module()
class SGConv(CachesKernel):
    """Structured global convolution.

    Kernels are divided by the norm that they had at the start of training, `kernel_norm`: it is taken when the layer
    is made, or from the kernels of a loaded state dict that has none. In evaluation their spectrum is kept for the
    last length of x.

    Args:
        in_channels: H of the input.
        l_max: longest distance that must be seen, in samples; x may be of any length.
        kernel_dim: taps of a piece.
        channels: convolutions of each input channel; the linear layer mixes them all.
        bidirectional: look ahead too, with further kernels. Else causal.
        decay: a of the first and the last channel, evenly spaced in between; with `learnable_decay` the range in
            which exponents start.
        mode: "cat" joins the pieces one after another; "sum" stretches piece i by 2^i and adds them up.
        learnable_decay: fade by (distance + 1)^-e with a learned exponent e of each channel, not by piece.
        n_scales: number of pieces, in place of what `l_max` needs.
        init_scale: pieces begin stretched by 2^init_scale, and so many fewer are made.
        linear: leave out GELU and the linear layer: (B, channels * H, L).

    Raises:
        ValueError: `mode` is unknown, or no piece is left.
    """

    EXAMPLE = dict(args=dict(l_max=256), input=(2, 64, 200))

    def __init__(
        self,
        in_channels: int,
        l_max: int,
        kernel_dim: int = 32,
        channels: int = 1,
        bidirectional: bool = False,
        decay: tuple[float, float] = (2.0, 2.0),
        mode: str = "cat",
        learnable_decay: bool = False,
        n_scales: int | None = None,
        init_scale: int = 0,
        linear: bool = False,
    ):
        super().__init__()
        count = n_scales or 1 + math.ceil(math.log2(l_max / kernel_dim)) - init_scale
        if mode not in ("cat", "sum"):
            raise ValueError(f"SGConv: mode must be cat or sum, got {mode!r}")
        if count < 1:
            raise ValueError(f"SGConv: l_max must be at least kernel_dim * 2^init_scale, got {l_max} for {kernel_dim}")
        self.mode, self.init_scale, self.bidirectional = mode, init_scale, bidirectional
        sets = 2 * channels if bidirectional else channels
        self.D = nn.Parameter(torch.randn(channels, in_channels))
        self.kernel_list = nn.ParameterList(
            nn.Parameter(torch.randn(sets, in_channels, kernel_dim)) for _ in range(count)
        )
        self.decay_range = decay
        self.decay = nn.Parameter(torch.empty(in_channels).uniform_(*decay)) if learnable_decay else None
        self.output_linear = None if linear else nn.Linear(channels * in_channels, in_channels)
        self.register_buffer("kernel_norm", self._norm(self.kernel_list, self.decay))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, L) -> (B, H, L), or (B, channels * H, L) when `linear`."""
        length = x.shape[-1]
        spectrum = self.cached(lambda: self.spectrum(length), length)  # (channels, H, L + 1)
        y = torch.fft.irfft(torch.fft.rfft(wide(x), n=2 * length).unsqueeze(1) * spectrum, n=2 * length)
        y = y[..., :length].flatten(1, 2).to(x.dtype).contiguous()  # what follows reads gaps slowly
        return y if self.output_linear is None else self.output_linear(F.gelu(y).transpose(1, 2)).transpose(1, 2)

    def spectrum(self, length: int) -> Tensor:
        """Spectrum (channels, H, length + 1) of the kernels and D, for inputs padded to twice their length."""
        pieces = [piece / self.kernel_norm for piece in self.kernel_list]  # shorter than the kernels
        kernel = self._joined(pieces, self.decay)[..., :length]
        if self.bidirectional:  # a tap that looks i + 1 ahead lies at place -1 - i
            causal, ahead = F.pad(kernel, (0, length - kernel.shape[-1])).chunk(2)
            kernel = torch.cat((causal, ahead.flip(-1)), -1)
        return torch.fft.rfft(kernel, n=2 * length) + wide(self.D).unsqueeze(-1)

    def _joined(self, pieces: Sequence[Tensor], decay: Tensor | None) -> Tensor:
        """Stretched, weighed pieces as kernels (sets, H, taps)."""
        base = torch.linspace(
            *self.decay_range, pieces[0].shape[1], device=pieces[0].device, dtype=wide(pieces[0]).dtype
        )
        stretched = []
        for i, piece in enumerate(map(wide, pieces)):
            if decay is None:
                piece = piece * base.unsqueeze(-1) ** (len(pieces) - 1 - i)
            factor = 2 ** (self.init_scale + (i if self.mode == "sum" else max(0, i - 1)))
            if factor > 1:
                piece = F.interpolate(piece, scale_factor=factor, mode="linear")
            stretched.append(piece)
        if self.mode == "cat":
            kernel = torch.cat(stretched, -1)
        else:
            length = stretched[-1].shape[-1]
            kernel = sum(F.pad(piece, (0, length - piece.shape[-1])) for piece in stretched)
        if decay is None:
            return kernel
        distance = torch.arange(1, kernel.shape[-1] + 1, device=kernel.device, dtype=kernel.dtype)
        return kernel * (-wide(decay).unsqueeze(-1) * distance.log()).exp()

    @torch.no_grad()
    def _norm(self, pieces: Sequence[Tensor], decay: Tensor | None) -> Tensor:
        return self._joined(pieces, decay).norm(dim=-1, keepdim=True)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        pieces = [state_dict.get(f"{prefix}kernel_list.{i}") for i in range(len(self.kernel_list))]
        decay = None if self.decay is None else state_dict.get(f"{prefix}decay", self.decay)
        own = [piece.shape for piece in self.kernel_list]
        if f"{prefix}kernel_norm" not in state_dict and [getattr(piece, "shape", None) for piece in pieces] == own:
            device = self.kernel_norm.device
            decay = None if decay is None else decay.to(device)
            state_dict[f"{prefix}kernel_norm"] = self._norm([piece.to(device) for piece in pieces], decay)
        super()._load_from_state_dict(state_dict, prefix, *args)
