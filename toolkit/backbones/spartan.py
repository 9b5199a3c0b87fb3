"""SpaRTAN: a light pyramid of convolutions at several scales and of gates over channels.

SpaRTAN: Spatial Reinforcement Token-based Aggregation Network for Visual Recognition, preprint 2025, arXiv 2507.10999.

    x = x + scale_1 * spatial(norm(x));    x = x + scale_2 * channel(norm(x))
    spatial(x) = W_out [se(conv(z)), se(dilated_conv(dilated_conv(z)))],    z = u + gamma * (u - mean(u)),  u = W_in x
    channel(x) = W_out se(conv(c * (w t + w[k] t[k]))),    t = gelu(W_t x),  w = W_w x,  k = argmax over channels of x
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from timm.layers import DropPath
from torch import Tensor, nn

from toolkit.backbones.base import Backbone, arch_facts, drop_path_rates

BN_EPS = GN_EPS = 1e-6
ARCHS = {"t": dict(dims=(32, 64, 128, 256), depths=(3, 3, 12, 2), expand_ratios=(4, 4, 2, 2))}


class ConvNorm(nn.Module):
    """A convolution without bias that keeps the map's size divided by `stride`, a batch norm and an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: type[nn.Module] = nn.GELU,
    ):
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BN_EPS)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class BareConv(nn.Module):
    """The first dilated convolution, which has neither norm nor activation."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SqueezeExcite(nn.Module):
    """Weights of channels from the mean of the map.

    Args:
        channels: C of the map.
        hidden: channels between.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.expand(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class SpatialMixer(nn.Module):
    """High and low frequencies, by a plain and two dilated convolutions on half of the channels each.

    Args:
        channels: C of the map.
        groups: of these convolutions.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        half = channels // 2
        self.proj_in = nn.Conv2d(channels, half, 1)
        self.gamma = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.h_conv = ConvNorm(half, half, groups=groups)
        self.l_conv = nn.Sequential(BareConv(half, groups), ConvNorm(half, half, dilation=2, groups=groups))
        self.h_attn = SqueezeExcite(half, half // 4)
        self.l_attn = SqueezeExcite(half, half // 4)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        x = self.proj_in(x)
        x = x + self.gamma * (x - x.mean((2, 3), keepdim=True))
        both = self.h_attn(self.h_conv(x)), self.l_attn(self.l_conv(x))
        return self.proj_out(torch.cat(both, 1))


class ChannelMixer(nn.Module):
    """Gated channels, to which those of the strongest input channel are added at each position.

    The strongest of the C input channels picks one of the first C of the C * e expanded ones, as the published
    network does. The choice makes outputs jump where two input channels are equal.

    Args:
        channels: C of the map.
        expand_ratio: e above.
        groups: of the 3x3 convolution.
    """

    def __init__(self, channels: int, expand_ratio: int, groups: int):
        super().__init__()
        wide = channels * expand_ratio
        self.theta = nn.Conv2d(channels, wide, 1)
        self.act = nn.GELU()
        self.proj = nn.Conv2d(channels, wide, 1)
        turn = torch.zeros(1, 1, 1, wide // 2, 2)
        turn[..., 0] = 1
        self.complex = nn.Parameter(turn)  # real and imaginary part for each pair of neighbouring channels
        self.conv = ConvNorm(wide, wide, groups=groups)
        self.attn = SqueezeExcite(wide, channels // 4)
        self.proj_out = nn.Conv2d(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        theta, weight = self.act(self.theta(x)), self.proj(x)
        strongest = x.argmax(1, keepdim=True)  # (B, 1, H, W)
        x = weight * theta + weight.gather(1, strongest) * theta.gather(1, strongest)
        x = self.attn(self.conv(self.turned(x)))
        return self.proj_out(x)

    def turned(self, x: Tensor) -> Tensor:
        """Channels 2 i and 2 i + 1 of `x`, as one complex number, times the learned one."""
        real, imaginary = x.unflatten(1, (-1, 2)).unbind(2)
        by_real, by_imaginary = self.complex.reshape(-1, 1, 1, 2).unbind(-1)
        parts = real * by_real - imaginary * by_imaginary, real * by_imaginary + imaginary * by_real
        return torch.stack(parts, 2).flatten(1, 2)


class Block(nn.Module):
    """Both mixers, each on a normed copy that joins by a layer scale.

    Args:
        channels: C of the map.
        expand_ratio: of the channel mixer.
        is_dense: for the first two stages, whose spatial convolutions have one group and whose gated channels are
            convolved one by one; the others have C / 2 and C groups.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, channels: int, expand_ratio: int, is_dense: bool, drop_path: float = 0.0):
        super().__init__()
        # CaiT's start for networks of some twenty blocks
        self.scale_1 = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))
        self.scale_2 = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))
        self.norm_1 = nn.GroupNorm(1, channels, eps=GN_EPS)
        self.norm_2 = nn.GroupNorm(1, channels, eps=GN_EPS)
        self.smixer = SpatialMixer(channels, 1 if is_dense else channels // 2)
        self.cmixer = ChannelMixer(channels, expand_ratio, channels * expand_ratio if is_dense else channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        x = x + self.drop_path(self.scale_1 * self.smixer(self.norm_1(x)))
        return x + self.drop_path(self.scale_2 * self.cmixer(self.norm_2(x)))


class Downsample(nn.Sequential):
    """Half the size, by a 2x2 convolution without bias, a batch norm and SiLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BN_EPS)
        self.act = nn.SiLU()


@MODELS.register_module()
class SpaRTAN(Backbone):
    """SpaRTAN, its bare maps at strides 4, 8, 16, 32, or its classifier.

    Args:
        arch: `t`, the published size; or a dict of `dims`, `depths` and `expand_ratios` of the stages.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch or stage, or a width is not divisible by 8.
    """

    def __init__(
        self,
        arch: str | dict = "t",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("SpaRTAN", ARCHS, arch)
        dims, depths = facts["dims"], facts["depths"]
        if any(dim % 8 for dim in dims):
            raise ValueError(f"SpaRTAN: dims must be divisible by 8, got {dims}")
        strides = [4 * 2**i for i in range(len(dims))]
        super().__init__(dims, strides, out_indices, frozen_stages, with_cp, init_cfg, num_classes)
        self.conv = nn.Sequential(
            ConvNorm(in_channels, dims[0] // 2, stride=2), ConvNorm(dims[0] // 2, dims[0], stride=2)
        )
        self.layers, self.ends = nn.ModuleList(), []  # the stages' layers one after the other, and where each ends
        for i, rates in enumerate(drop_path_rates(drop_path_rate, depths)[: self.built]):
            if i:
                self.layers.append(Downsample(dims[i - 1], dims[i]))
            self.layers.extend(Block(dims[i], facts["expand_ratios"][i], i < 2, rate) for rate in rates)
            self.ends.append(len(self.layers))
        if num_classes is not None:
            self.linear = nn.Linear(dims[-1], num_classes)
        self.freeze()

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        starts = [0, *self.ends[:-1]]
        stages = [list(self.layers[start:end]) for start, end in zip(starts, self.ends, strict=True)]
        return [[self.conv], *stages]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage that there is."""
        x, found = self.conv(x), []
        for i, layer in enumerate(self.layers, 1):
            x = self.run(layer, x)
            if i in self.ends:
                found.append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:  # (B, C, H, W), the last map, -> (B, num_classes)
        return self.linear(x.mean((2, 3)))
