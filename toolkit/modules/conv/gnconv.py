"""gnConv: recursive gated convolutions, spatial interactions of order n.

HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions, NeurIPS 2022, arXiv 2207.14284.

    p, q_1 ... q_n = split(conv_1x1(x)),  q = s * spatial(q)    q_i of C / 2^(n - i) channels, p as many as q_1
    x_1 = p * q_1,  x_{i + 1} = conv_1x1(x_i) * q_{i + 1},  y = conv_1x1(x_n)
    spatial: a depthwise 7x7 convolution, or GlobalFilter
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn


class GlobalFilter(nn.Module):
    """Half of the channels through a depthwise 3x3 convolution, the other half times a map of their spectrum.

    The two halves are interleaved: 0, C / 2, 1, C / 2 + 1 ...

    Args:
        channels: C, even.
        spectrum_size: rows and columns of the learned map. A picture whose spectrum, (H, W // 2 + 1), has another size
            meets the map resized bilinearly; so does a checkpoint's map of another size.

    Raises:
        ValueError: `channels` is odd.
    """

    def __init__(self, channels: int, spectrum_size: Sequence[int] = (14, 8)):
        super().__init__()
        if channels % 2:
            raise ValueError(f"GlobalFilter: channels must be even, got {channels}")
        half = channels // 2
        self.pre_norm = LayerNorm2d(channels, eps=1e-6)
        self.dw = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.complex_weight = nn.Parameter(torch.randn(half, *spectrum_size, 2) * 0.02)
        self.post_norm = LayerNorm2d(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        near, far = self.pre_norm(x).chunk(2, 1)
        with torch.autocast(x.device.type, enabled=False):
            far = self._filter(far.float() if far.dtype in (torch.float16, torch.bfloat16) else far)
        near = self.dw(near)
        return self.post_norm(torch.stack((near, far.to(near.dtype)), 2).flatten(1, 2))

    def _filter(self, x: Tensor) -> Tensor:  # (B, C / 2, H, W) -> (B, C / 2, H, W)
        if x.numel() == 0:
            return x
        spectrum = torch.fft.rfft2(x, norm="ortho")
        weight = resized(self.complex_weight, spectrum.shape[2:]).to(x.dtype)
        return torch.fft.irfft2(spectrum * torch.view_as_complex(weight), s=x.shape[2:], norm="ortho")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = f"{prefix}complex_weight"
        if key in state_dict and state_dict[key].dim() == 4:
            state_dict[key] = resized(state_dict[key], self.complex_weight.shape[1:3])
        super()._load_from_state_dict(state_dict, prefix, *args)


def resized(weight: Tensor, size: Sequence[int]) -> Tensor:
    """A map of complex numbers, (C, h, w, 2), at another size: (C, size[0], size[1], 2)."""
    if tuple(weight.shape[1:3]) == tuple(size):
        return weight
    maps = F.interpolate(weight.permute(3, 0, 1, 2), size=tuple(size), mode="bilinear", align_corners=True)
    return maps.permute(1, 2, 3, 0).contiguous()


@MODELS.register_module("gnConv")
class GnConv(nn.Module):
    """Mix tokens by gates that act on gates, from few channels to many.

    Args:
        in_channels: C of the input and the output.
        order: n, the number of gates.
        scale: s.
        spectrum_size: of the `GlobalFilter` that stands for the 7x7 convolution; None for the convolution.

    Raises:
        ValueError: `in_channels` is not divisible by 2^(n - 1), or `order` is below 1.
    """

    def __init__(
        self, in_channels: int, order: int = 5, scale: float = 1 / 3, spectrum_size: Sequence[int] | None = None
    ):
        super().__init__()
        if order < 1 or in_channels % 2 ** (order - 1):
            raise ValueError(
                f"gnConv: in_channels must be divisible by 2^(order - 1) with order 1 or more, "
                f"got {in_channels} and order {order}"
            )
        self.dims = [in_channels >> i for i in reversed(range(order))]
        self.scale = scale
        total = sum(self.dims)
        self.proj_in = nn.Conv2d(in_channels, 2 * in_channels, 1)
        if spectrum_size is None:
            self.dwconv = nn.Conv2d(total, total, 7, padding=3, groups=total)
        else:
            self.dwconv = GlobalFilter(total, spectrum_size)
        self.pws = nn.ModuleList(nn.Conv2d(few, many, 1) for few, many in pairwise(self.dims))
        self.proj_out = nn.Conv2d(in_channels, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        x, gates = self.proj_in(x).split((self.dims[0], sum(self.dims)), 1)
        gates = self.dwconv(gates)
        if self.scale != 1:
            gates = gates * self.scale
        first, *others = gates.split(self.dims, 1)
        x = x * first
        for project, gate in zip(self.pws, others, strict=True):
            x = project(x) * gate
        return self.proj_out(x)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Take the scale into the weights before it."""
        before = self.dwconv.post_norm if isinstance(self.dwconv, GlobalFilter) else self.dwconv
        before.weight.mul_(self.scale)
        before.bias.mul_(self.scale)
        self.scale = 1
