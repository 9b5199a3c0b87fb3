"""UniRepLKNet: a pyramid of large depthwise kernels that inference finds merged.

UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video, Point Cloud, Time-Series and Image
Recognition, CVPR 2024, arXiv 2311.15599.

    x = x + gamma * bn(W_2 grn(gelu(W_1 se(bn(dw(x))))))    dw: 3x3, or DilatedReparamBlock
    grn(x) = x * (gamma * n / mean over channels of n + 1) + beta, n = l2 norm over H, W

Other kinds of data need only a picture made of them: a mel spectrogram is `in_channels=1` and (B, 1, time, bands), a
clip is its frames side by side in one picture, a series is an embedding of its steps reshaped to (B, 1, H, W).
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from toolkit.backbones.base import arch_facts, drop_path_rates
from toolkit.backbones.pyramid import Pyramid
from toolkit.modules.conv.dilated_reparam import DilatedReparamBlock, depthwise, folded, with_weights
from toolkit.modules.packed_weight import PackedLinear


def _arch(width: int, depths: tuple[int, ...], third: tuple[int, ...]) -> dict:
    """Kernel 3 in the first stage, 13 in the second and fourth, in the third those of `third` over and over."""
    first, second, middle, last = depths
    kernels = ((3,) * first, (13,) * second, third * (middle // len(third)), (13,) * last)
    return dict(dims=tuple(width * 2**i for i in range(4)), kernel_sizes=kernels)


ARCHS = {
    "a": _arch(40, (2, 2, 6, 2), (13,)),
    "f": _arch(48, (2, 2, 6, 2), (13,)),
    "p": _arch(64, (2, 2, 6, 2), (13,)),
    "n": _arch(80, (2, 2, 8, 2), (13,)),
    "t": _arch(80, (3, 3, 18, 3), (13, 3)),
    "s": _arch(96, (3, 3, 27, 3), (13, 3, 3)),
    "b": _arch(128, (3, 3, 27, 3), (13, 3, 3)),
    "l": _arch(192, (3, 3, 27, 3), (13, 3, 3)),
    "xl": _arch(256, (3, 3, 27, 3), (13, 3, 3)),
}


class GRN(nn.Module):
    """Global response norm of ConvNeXt V2, on channels-last maps.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta: Tensor | None = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        squares = exact.square().sum((1, 2), keepdim=True)  # vector_norm is slow on a CPU
        size = squares.clamp_min(1e-24).sqrt()  # no gradient of sqrt at 0
        scale = self.gamma * (size / (size.mean(-1, keepdim=True) + 1e-6)) + 1
        scale = scale.to(x.dtype)
        return x * scale if self.beta is None else torch.addcmul(self.beta.to(x.dtype), x, scale)


class SEBlock(nn.Module):
    """Squeeze and excitation with a quarter of the channels between.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Block(nn.Module):
    """A depthwise convolution, squeeze and excitation and a two-layer perceptron on one residual.

    Args:
        dim: C of the map.
        kernel_size: 3 or 5 for a plain convolution, else one of `DilatedReparamBlock`.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, dim: int, kernel_size: int, drop_path: float = 0.0):
        super().__init__()
        self.dwconv = depthwise(dim, kernel_size) if kernel_size in (3, 5) else DilatedReparamBlock(dim, kernel_size)
        self.norm = nn.BatchNorm2d(dim)
        self.se = SEBlock(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.grn = GRN(4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gamma: Tensor | None = nn.Parameter(torch.full((dim,), 1e-6))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        y = self.se(self.norm(self.dwconv(x))).permute(0, 2, 3, 1)
        y = self.pwconv2(self.grn(self.act(self.pwconv1(y))))
        y = self.norm2(y.permute(0, 3, 1, 2))
        if self.gamma is not None:
            y = self.gamma[:, None, None] * y
        return x + self.drop_path(y)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Leave one depthwise convolution and two linear layers: norms, layer scale and GRN's beta are in them."""
        if self.gamma is None:
            return
        if isinstance(self.dwconv, DilatedReparamBlock):
            self.dwconv.switch_to_deploy()
            self.dwconv.lk_origin = with_weights(self.dwconv.lk_origin, *folded(self.dwconv.lk_origin, self.norm))
        else:
            self.dwconv = with_weights(self.dwconv, *folded(self.dwconv, self.norm))
        norm, linear = self.norm2, self.pwconv2
        scale = self.gamma * norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = linear.weight @ self.grn.beta.flatten() - norm.running_mean
        self.pwconv1, self.act = PackedLinear.of(self.pwconv1, "gelu"), nn.Identity()
        self.pwconv2 = PackedLinear(linear.weight * scale[:, None], shift * scale + self.gamma * norm.bias)
        self.norm = self.norm2 = nn.Identity()
        self.gamma = self.grn.beta = None


@MODELS.register_module()
class UniRepLKNet(Pyramid):
    """UniRepLKNet, its maps each with a norm, or its classifier.

    Args:
        arch: `a`, `f`, `p`, `n`, `t`, `s`, `b`, `l`, `xl`; or a dict of `dims` of the four stages and `kernel_sizes`,
            for each stage those of its blocks.
        in_channels: channels of the picture.
        out_indices: stages whose maps to give.
        num_classes: logits of the published classifier instead of maps; None for maps.
        deploy: build the form that `switch_to_deploy` leaves.
        frozen_stages, with_cp: see `Backbone`.
        drop_path_rate: of the last block, rising from 0 at the first.
        init_cfg: as mmengine's.

    Raises:
        ValueError: there is no such arch, stage or kernel size.
    """

    def __init__(
        self,
        arch: str | dict = "t",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        num_classes: int | None = None,
        deploy: bool = False,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        facts = arch_facts("UniRepLKNet", ARCHS, arch)
        dims, kernels = facts["dims"], facts["kernel_sizes"]
        rates = drop_path_rates(drop_path_rate, [len(stage) for stage in kernels])
        layers = []
        for i, dim in enumerate(dims):
            if i == 0:
                half = dim // 2
                down = [*_halving(in_channels, half), nn.GELU(), *_halving(half, dim)]
            else:
                down = _halving(dims[i - 1], dim)
            blocks = [Block(dim, kernel, rate) for kernel, rate in zip(kernels[i], rates[i], strict=True)]
            layers.append((nn.Sequential(*down), blocks))
        super().__init__(dims, layers, out_indices, num_classes, frozen_stages, with_cp, init_cfg)
        if deploy:
            self.switch_to_deploy()

    def switch_to_deploy(self) -> None:
        """Bring every block into its inference form: the same outputs, not to be trained any more."""
        for stage in self.stages:
            for block in stage:
                block.switch_to_deploy()


def _halving(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 3, 2, 1), LayerNorm2d(out_channels, eps=1e-6)]
