"""AFFFilter, AFFBlock: global token mixing by a filter in the frequency domain that the input itself makes.

Adaptive Frequency Filters As Efficient Global Token Mixers, ICCV 2023, arXiv 2307.14008.

    X = rfft2(x)        y = irfft2(shrink(W2 act(W1 X + b1) + b2) * X) + x

W1 and W2 are complex and block-diagonal over the channels, the same for every frequency; act and shrink work on real
and imaginary parts apart. The transform is orthonormal, so the product is a convolution with kernels as large as the
map.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.ops.precision import wide

ACTIVATIONS = {"relu": nn.ReLU, "swish": nn.SiLU, "gelu": nn.GELU}


def activation(name: str, owner: str) -> nn.Module:
    """An activation by its published name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"{owner}: act must be {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


@MODELS.register_module()
class AFFFilter(nn.Module):
    """Adaptive frequency filter.

    Args:
        in_channels: C of the input.
        num_blocks: contiguous groups of channels that W1 and W2 connect within.
        act: activation between W1 and W2: relu, swish or gelu.
        sparsity_threshold: how far the mask's parts are shrunk towards 0.

    Raises:
        ValueError: `num_blocks` does not divide `in_channels`.
    """

    def __init__(self, in_channels: int, num_blocks: int = 8, act: str = "relu", sparsity_threshold: float = 0.01):
        super().__init__()
        if in_channels % num_blocks:
            raise ValueError(f"AFFFilter: in_channels must be divisible by num_blocks {num_blocks}, got {in_channels}")
        self.num_blocks, self.sparsity_threshold = num_blocks, sparsity_threshold
        width = in_channels // num_blocks
        # the first axis holds real and imaginary part; weights are (block, in, out)
        self.w1 = nn.Parameter(0.02 * torch.randn(2, num_blocks, width, width))
        self.b1 = nn.Parameter(0.02 * torch.randn(2, num_blocks, width))
        self.w2 = nn.Parameter(0.02 * torch.randn(2, num_blocks, width, width))
        self.b2 = nn.Parameter(0.02 * torch.randn(2, num_blocks, width))
        self.act = activation(act, "AFFFilter")

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        if x.shape[0] == 0:
            return x
        with torch.autocast(x.device.type, enabled=False):
            return x + self._filtered(wide(x)).to(x.dtype)

    def _filtered(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        parts = torch.view_as_real(spectrum).movedim(-1, 1)  # (B, 2, C, H, W // 2 + 1)
        parts = parts.unflatten(2, (self.num_blocks, -1)).transpose(1, 2)  # (B, blocks, 2, width, H, W // 2 + 1)
        mask = self._mix(self.act(self._mix(parts.flatten(1, 3), self.w1, self.b1)), self.w2, self.b2)
        mask = F.softshrink(mask, self.sparsity_threshold).unflatten(1, parts.shape[1:4])
        real, imaginary = (part.flatten(1, 2) for part in mask.unbind(2))
        return torch.fft.irfft2(torch.complex(real, imaginary) * spectrum, s=x.shape[2:], norm="ortho")

    def _mix(self, parts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Complex matrices as real ones: a grouped 1x1 convolution of (B, blocks * 2 * width, H, W)."""
        real, imaginary = wide(weight).transpose(-1, -2)  # (blocks, out, in) both
        matrix = torch.cat((torch.cat((real, -imaginary), -1), torch.cat((imaginary, real), -1)), -2)
        kernel = matrix.flatten(0, 1)[..., None, None]  # (blocks * 2 * out, 2 * in, 1, 1)
        return F.conv2d(parts, kernel, wide(bias).transpose(0, 1).flatten(), groups=self.num_blocks)


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, activation.

    Args:
        in_channels, out_channels, kernel_size, stride, groups: of the convolution, which pads to keep the size.
        act: activation; None for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str | None = None,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.Identity() if act is None else activation(act, "ConvNormAct")

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)
        return self.act(self.norm(self.conv(x)))


class InvertedResidual(nn.Module):
    """Inverted residual of MobileNetV2, CVPR 2018, arXiv 1801.04381.

    Args:
        in_channels, out_channels: of the block.
        hidden: channels of the depth-wise convolution; where they equal `in_channels`, nothing expands.
        stride: of the depth-wise convolution. With 1 and equal channels the input is added.
        act: activation after the first two convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden: int, stride: int = 1, act: str = "swish"):
        super().__init__()
        self.adds_input = stride == 1 and in_channels == out_channels
        if hidden != in_channels:
            self.exp_1x1 = ConvNormAct(in_channels, hidden, act=act)
        self.conv_3x3 = ConvNormAct(hidden, hidden, 3, stride, hidden, act)
        self.red_1x1 = ConvNormAct(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)
        y = self.exp_1x1(x) if hasattr(self, "exp_1x1") else x
        y = self.red_1x1(self.conv_3x3(y))
        return x + y if self.adds_input else y


class ChannelNorm(nn.Module):
    """Over the channels of each position, divided by (deviation + eps): not quite a layer norm.

    Args:
        channels: C of the input.
        eps: is added to the deviation and not to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        deviation, mean = torch.std_mean(x, dim=1, keepdim=True, correction=0)
        return (x - mean) / (deviation + self.eps) * self.weight[:, None, None] + self.bias[:, None, None]


NORMS = {"layer_norm_2d": lambda channels: nn.GroupNorm(1, channels), "layer_norm": ChannelNorm}


class FilterBlock(nn.Module):
    """x + filter(norm2(mlp(norm1(x)))): channels mix before tokens, and one residual goes around both.

    Args:
        channels: C of the input.
        hidden: channels inside the MLP, an inverted residual with a residual of its own.
        num_blocks, act, norm: as in AFFBlock.
    """

    def __init__(self, channels: int, hidden: int, num_blocks: int, act: str, norm: str):
        super().__init__()
        self.norm1 = NORMS[norm](channels)
        self.mlp = InvertedResidual(channels, channels, hidden, act=act)
        self.norm2 = NORMS[norm](channels)
        self.filter = AFFFilter(channels, num_blocks, act)
        self.drop_path = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x + self.drop_path(self.filter(self.norm2(self.mlp(self.norm1(x)))))


@MODELS.register_module()
class AFFBlock(nn.Module):
    """Filter blocks on a whole map, joined with what came in.

    Args:
        in_channels: C of the input.
        ffn_dim: hidden channels of the MLPs; None for twice the input's.
        n_blocks: filter blocks.
        num_blocks: groups of channels in the filters.
        act: relu, swish or gelu, everywhere.
        norm: `layer_norm_2d`, one group over C, H and W; or `layer_norm`, over the channels of each position, divided
            by (deviation + eps).

    Raises:
        ValueError: `norm` or `act` are unknown, or `num_blocks` does not divide `in_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        ffn_dim: int | None = None,
        n_blocks: int = 2,
        num_blocks: int = 8,
        act: str = "swish",
        norm: str = "layer_norm_2d",
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"AFFBlock: norm must be {' or '.join(NORMS)}, got {norm!r}")
        hidden = ffn_dim or 2 * in_channels
        blocks = [FilterBlock(in_channels, hidden, num_blocks, act, norm) for _ in range(n_blocks)]
        self.global_rep = nn.Sequential(*blocks, NORMS[norm](in_channels))
        self.conv_proj = ConvNormAct(in_channels, in_channels)
        self.fusion = ConvNormAct(2 * in_channels, in_channels, act=act)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self.fusion(torch.cat((x, self.conv_proj(self.global_rep(x))), 1))
