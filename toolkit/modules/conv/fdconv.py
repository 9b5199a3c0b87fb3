"""FDConv: a convolution whose kernel each picture mixes from disjoint bands of the weight's Fourier spectrum.

Frequency Dynamic Convolution for Dense Image Prediction, CVPR 2025, arXiv 2503.18783.

    K = irfft2(alpha * a_g * D) * local * spatial * channel * filter        y = conv(FBM(x), K)

The weight, seen as an (out * k) x (in * k) matrix, is learned as its spectrum D (Fourier Disjoint Weight): the
spectrum's positions, sorted by frequency, are cut into `kernel_num` equal groups g. The mean of x over its area gives
the attentions (Kernel Spatial Modulation): a_g by group, one by input channel, output channel and tap (global), and
one for every single weight (local). Frequency Band Modulation weighs four bands of x, place by place, before 3x3
kernels read it. Of what does not depend on the picture there is nothing left to compute, so nothing is cached.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.ops.precision import wide

REDUCTION, LEAST_HIDDEN = 16, 16  # of KSMGlobal
GRID = 64  # the published band masks are made for 64 x 64 maps and resized
PUBLISHED_KERNEL_NUM = 64
DFT_KERNELS = (1, 3)


@lru_cache(maxsize=64)
def frequency_order(rows: int, columns: int) -> Tensor:
    """Positions of the real spectrum of a (rows, columns) matrix from the lowest to the highest frequency.

    Most distances from zero frequency are shared. Equal ones stay in row-major order and distances are rounded to
    float32, as in training of the published weights: the order is not in their files.

    Returns:
        (rows * (columns // 2 + 1),) int64, indices of the flattened spectrum. Shared: do not change it.
    """
    rate = torch.stack(
        torch.meshgrid(torch.fft.fftfreq(rows, device="cpu"), torch.fft.rfftfreq(columns, device="cpu"), indexing="ij"),
        -1,
    )
    return rate.norm(dim=-1).flatten().sort(stable=True).indices


@lru_cache(maxsize=64)
def _group_map(rows: int, columns: int, groups: int) -> Tensor:
    """The group, int32, of each position of the flattened spectrum. Shared: do not change it."""
    order = frequency_order(rows, columns)
    found = torch.empty(len(order), dtype=torch.int32, device="cpu")
    found[order] = torch.arange(groups, dtype=torch.int32, device="cpu").repeat_interleave(len(order) // groups)
    return found


def spectrum(weight: Tensor) -> Tensor:
    """A dense weight as FDConv's parameter `dft_weight`.

    Args:
        weight: (out, in, k, k).

    Returns:
        (1, out * k, in * k // 2 + 1, 2), real and imaginary part, divided by min(out, in) // 2.
    """
    out_channels, in_channels, k, _ = weight.shape
    matrix = wide(weight).transpose(1, 2).reshape(out_channels * k, in_channels * k)
    return torch.view_as_real(torch.fft.rfft2(matrix))[None] / (min(out_channels, in_channels) // 2)


def _times(own: Tensor, other: Tensor) -> Tensor:
    """own * other, in the memory of `own` where no gradient needs it: fresh memory costs more than the product."""
    if torch.is_grad_enabled() and (own.requires_grad or other.requires_grad):
        return own * other
    return own.mul_(other)


class StarReLU(nn.Module):
    """scale * relu(x)^2 + bias with learned scalars; MetaFormer Baselines for Vision, arXiv 2210.13452."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.relu().square() + self.bias


class KSMGlobal(nn.Module):
    """Attentions by input channel, output channel, tap and spectral group, from the mean of x over its area.

    Args:
        in_channels, out_channels, kernel_size: of the convolution.
        kernel_num: spectral groups.
        kernel_temp: divides the logits of the groups.
        temp: divides the others.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, kernel_num: int, kernel_temp: float, temp: float
    ):
        super().__init__()
        hidden = max(in_channels // REDUCTION, LEAST_HIDDEN)
        self.kernel_num, self.kernel_temp, self.temp = kernel_num, kernel_temp, temp
        self.fc = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.relu = StarReLU()
        self.channel_fc = nn.Conv2d(hidden, in_channels, 1)
        self.filter_fc = nn.Conv2d(hidden, out_channels, 1)
        self.spatial_fc = nn.Conv2d(hidden, kernel_size**2, 1) if kernel_size > 1 else None
        self.kernel_fc = nn.Conv2d(hidden, kernel_num, 1)

    def forward(self, mean: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """(B, in, 1, 1) -> (B, in), (B, out), (B, k * k) or None, (B, kernel_num); the last sums to 1 at the start."""
        hidden = self.relu(self.bn(_dense(self.fc, mean.flatten(1))[..., None, None])).flatten(1)
        logits = [_dense(fc, hidden) for fc in (self.channel_fc, self.filter_fc, self.spatial_fc) if fc is not None]
        attentions = 2 * (torch.cat(logits, 1) / self.temp).sigmoid()
        channel, filters, *spatial = attentions.split([part.shape[1] for part in logits], 1)
        groups = 2 / self.kernel_num * (_dense(self.kernel_fc, hidden) / self.kernel_temp).sigmoid()
        return channel, filters, spatial[0] if spatial else None, groups


def _dense(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of a map (B, C, 1, 1) given as (B, C), where it costs most of its time in calling."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class KSMLocal(nn.Module):
    """Logits for every single weight, by a convolution along the input channels of the mean of x.

    Args:
        in_channels: of the convolution.
        weights: out_channels * k * k of the convolution.
    """

    def __init__(self, in_channels: int, weights: int):
        super().__init__()
        taps = round(math.log2(in_channels) / 2 + 0.5) // 2 * 2 + 1
        self.conv = nn.Conv1d(1, weights, taps, padding=taps // 2, bias=False)
        self.norm = nn.LayerNorm(in_channels)

    def forward(self, mean: Tensor) -> Tensor:  # (B, in) -> (B, weights, in)
        weight = self.conv.weight[:, 0]
        taps = weight.shape[1]
        windows = F.pad(self.norm(mean), (taps // 2, taps // 2)).unfold(1, mean.shape[1], 1)  # (B, taps, in)
        return torch.bmm(weight.expand(mean.shape[0], -1, -1), windows)


@MODELS.register_module()
class FBM(nn.Module):
    """Weigh the frequency bands of a map, each place by its own weights.

    The published cut-offs are 0.5 / k cycles a pixel in each direction, on a mask for 64 x 64 maps that is resized to
    the nearest for other sizes.

    Args:
        in_channels: C of the map.
        k_list: rising divisors of the highest frequency; what lies below the last cut-off is not weighed.
    """

    def __init__(self, in_channels: int, k_list: Sequence[int] = (2, 4, 8)):
        super().__init__()
        self.freq_weight_conv_list = nn.ModuleList(nn.Conv2d(in_channels, 1, 3, padding=1) for _ in k_list)
        rows, columns = torch.fft.fftfreq(GRID).abs(), torch.fft.rfftfreq(GRID)
        highest = torch.maximum(rows[:, None], columns[None])
        masks = torch.stack([highest < 0.5 / k + 1e-8 for k in k_list])
        self.register_buffer("masks", masks[:, None], persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Start with every weight 1, so that the map passes unchanged."""
        for conv in self.freq_weight_conv_list:
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        convs = self.freq_weight_conv_list
        logits = F.conv2d(
            x, torch.cat([conv.weight for conv in convs]), torch.cat([conv.bias for conv in convs]), padding=1
        )
        weights = (2 * logits.sigmoid()).split(1, 1)
        size = x.shape[-2:]
        transformed = torch.fft.rfft2(wide(x))
        masks = F.interpolate(self.masks.to(transformed.real.dtype), transformed.shape[-2:])
        out, above = 0, x
        for weight, mask in zip(weights, masks, strict=True):
            below = torch.fft.irfft2(transformed * mask, s=size).to(x.dtype)
            out = out + (above - below) * weight
            above = below
        return out + above


@MODELS.register_module()
class FDConv(nn.Conv2d):
    """A convolution with a kernel of its own for each picture.

    It is a plain convolution, with the parameter `weight`, where a kernel is not 1x1 or 3x3 or where
    min(in_channels, out_channels) <= `use_fdconv_if_c_gt`. A dense checkpoint loads as it is: `weight` becomes the
    spectrum and the attentions are set to 1, so the network starts equal to the dense one. (The published converter
    and constructor leave `filter_fc` at random values, which moves outputs by some 70 % at the start.)

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as of nn.Conv2d; `groups`
            must be 1.
        kernel_num: spectral groups; must divide out * k * (in * k // 2 + 1). None for the published 64 or, where that
            does not, the next number below it that does.
        use_fdconv_if_c_gt: plain at and below this number of channels.
        use_ksm_local: learn an attention for every single weight.
        kernel_temp: temperature of the groups' attention.
        temp: of the other attentions; None takes `kernel_temp`.
        k_list: bands of `FBM`, which stands before kernels larger than 1x1; empty leaves it out.

    Raises:
        ValueError: `groups`, `kernel_num` or the padding mode does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        kernel_num: int | None = None,
        use_fdconv_if_c_gt: int = 16,
        use_ksm_local: bool = True,
        kernel_temp: float = 1.0,
        temp: float | None = None,
        k_list: Sequence[int] = (2, 4, 8),
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        k = self.kernel_size[0]
        self.is_plain = (
            min(in_channels, out_channels) <= use_fdconv_if_c_gt or k not in DFT_KERNELS or self.kernel_size != (k, k)
        )
        if self.is_plain:
            return
        if groups != 1 or padding_mode != "zeros":
            raise ValueError(f"FDConv: groups must be 1 and padding_mode 'zeros', got {groups} and {padding_mode!r}")
        rows, columns = out_channels * k, in_channels * k
        positions = rows * (columns // 2 + 1)
        if kernel_num is None:
            kernel_num = next(number for number in range(PUBLISHED_KERNEL_NUM, 0, -1) if positions % number == 0)
        if positions % kernel_num:
            fits = math.gcd(positions, kernel_num)
            raise ValueError(
                f"FDConv: kernel_num must divide the spectrum's {positions} positions, as {fits} does, got {kernel_num}"
            )
        weight, self.weight = self.weight.detach(), None
        self.dft_weight = nn.Parameter(spectrum(weight))
        self.kernel_num = kernel_num
        self.register_buffer("group_map", _group_map(rows, columns, kernel_num).to(weight.device), persistent=False)
        temp = kernel_temp if temp is None else temp
        self.KSM_Global = KSMGlobal(in_channels, out_channels, k, kernel_num, kernel_temp, temp)
        self.FBM = FBM(in_channels, k_list) if k > 1 and k_list else None
        self.KSM_Local = KSMLocal(in_channels, out_channels * k * k) if use_ksm_local else None
        self.init_weights()

    def init_weights(self) -> None:
        """Set every attention to 1, so that the kernel is the dense one."""
        if self.is_plain:
            return
        ksm = self.KSM_Global
        layers = [ksm.channel_fc, ksm.filter_fc, ksm.spatial_fc, ksm.kernel_fc, getattr(self.KSM_Local, "conv", None)]
        for layer in filter(None, layers):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.FBM is not None:
            self.FBM.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H', W')
        if self.is_plain:
            return super().forward(x)
        if x.shape[0] == 0:
            return self._conv_forward(x, self.dense_weight().to(x.dtype), self.bias)
        kernels = self.kernels(x.mean((2, 3), keepdim=True)).to(x.dtype)
        y = self._convolve(x if self.FBM is None else self.FBM(x), kernels)
        return y if self.bias is None else y + self.bias[:, None, None]

    def kernels(self, mean: Tensor) -> Tensor:
        """The kernels (B, out, in, k, k) of pictures with the means (B, in, 1, 1)."""
        k = self.kernel_size[0]
        channel, filters, spatial, groups = (None if part is None else wide(part) for part in self.KSM_Global(mean))
        factors = channel[:, None, None, None]  # in memory (B, out, k, k, in): convolutions read that order fastest
        if spatial is not None:
            factors = factors * spatial.view(-1, 1, k, k, 1)
        kernels = self._mixed(groups).permute(0, 1, 3, 4, 2)
        if self.KSM_Local is None:
            kernels = kernels * factors
        else:
            local = wide(self.KSM_Local(mean.flatten(1))).sigmoid_().unflatten(1, (self.out_channels, k, k))
            kernels = _times(_times(local, 2 * factors), kernels)
        kernels = _times(kernels, filters[:, :, None, None, None])
        return kernels.permute(0, 1, 4, 2, 3)

    def dense_weight(self) -> Tensor:
        """The kernel (out, in, k, k) of a picture whose attentions are all 1."""
        return self._mixed(wide(self.dft_weight).new_full((1, self.kernel_num), 1 / self.kernel_num))[0]

    def _mixed(self, groups: Tensor) -> Tensor:
        """Attentions (B, kernel_num) of the spectral groups -> (B, out, in, k, k)."""
        k, size = self.kernel_size[0], (self.out_channels * self.kernel_size[0], self.in_channels * self.kernel_size[0])
        scale = min(self.in_channels, self.out_channels) // 2 * self.kernel_num
        spectra = torch.view_as_complex(wide(self.dft_weight).contiguous())
        spectra = spectra * (groups * scale).index_select(1, self.group_map).view(-1, *spectra.shape[1:])
        if spectra.device.type == "cpu" and not torch.compiler.is_compiling():
            matrices = torch.stack([torch.fft.irfft2(one, s=size) for one in spectra])  # a batch would be copied about
        else:
            matrices = torch.fft.irfft2(spectra, s=size)
        return matrices.view(-1, self.out_channels, k, self.in_channels, k).transpose(2, 3)

    def _convolve(self, x: Tensor, kernels: Tensor) -> Tensor:
        """Each picture with its own kernel, without bias."""
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            x = x[..., :: self.stride[0], :: self.stride[1]]
            return (kernels.flatten(2) @ x.flatten(2)).unflatten(2, x.shape[2:])
        y = F.conv2d(
            x.flatten(0, 1)[None], kernels.flatten(0, 1), None, self.stride, self.padding, self.dilation, x.shape[0]
        )
        return y[0].unflatten(0, (-1, self.out_channels))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        dense = state_dict.get(f"{prefix}weight")
        expected = (self.out_channels, self.in_channels, *self.kernel_size)
        if not self.is_plain and dense is not None and dense.shape == expected:
            del state_dict[f"{prefix}weight"]
            self.init_weights()
            own = {name: value for name, value in self.state_dict().items() if name.startswith(("KSM_", "FBM."))}
            state_dict.update({f"{prefix}{name}": value for name, value in own.items()})
            state_dict[f"{prefix}dft_weight"] = spectrum(dense).to(self.dft_weight.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)
