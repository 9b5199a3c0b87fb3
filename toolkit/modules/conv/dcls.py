"""Dcls: a convolution whose few weights move freely in a large window.

Dilated Convolution with Learnable Spacings, ICLR 2023, arXiv 2112.03740; with other interpolations: Dilated Convolution
with Learnable Spacings: beyond bilinear interpolation, 2023, arXiv 2306.00817.

    K[i] = sum over n of w_n * f(i - p_n) / sum over j of f(j - p_n)        y = conv(x, K)

i runs over the cells of the window, p_n are learned positions, and f is a product over the axes of
    v0, v1      relu(1 - |d|)                            bilinear; v0 leaves out the denominator
    max         relu(1 + |s| - |d|)                      a triangle of learned width
    gauss       exp(-(d / (0.27 + |s|))^2 / 2)           a bell of learned width

As f is a product, K is one product of small matrices, and the window's size^dims * n numbers are never in memory.
"""

import math
from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.modules.cached_kernel import CachesKernel
from toolkit.ops.precision import wide

VERSIONS = ("v0", "v1", "max", "gauss")
START_WIDTH = {"max": 0.0, "gauss": 0.23}  # of the learned ones
LEAST_WIDTH = {"max": 1.0, "gauss": 0.27}
V0_AXES = {1: (0,), 2: (0, 1), 3: (0, 2, 1)}  # which of the positions moves along each axis of the kernel
SPREAD = 0.5  # standard deviation of the positions at the start, in cells


def construct_kernel(
    weight: Tensor, positions: Tensor, widths: Tensor | None, size: Sequence[int], version: str
) -> Tensor:
    """Weights at positions as a dense kernel.

    As published, positions[0] moves along the last axis of the kernel, and so on backwards; for v0 along the first, in
    3-D then the last and the middle one. But positions[i] is always counted from cell size[i] // 2 with axes from the
    front: where sides differ, position 0 is not the middle.

    Args:
        weight: (out, in, n).
        positions: (dims, out, in, n), in cells.
        widths: like `positions`, for max and gauss; else not read.
        size: sides of the window.
        version: one of v0, v1, max, gauss.

    Returns:
        (out, in, *size), in the precision of `weight`.
    """
    values, profiles = wide(weight), []
    order = V0_AXES[len(size)] if version == "v0" else tuple(reversed(range(len(size))))
    for i, side in zip(order, size, strict=True):
        places = wide(positions[i]) + size[i] // 2
        offsets = torch.arange(side, device=places.device, dtype=places.dtype) - places.unsqueeze(-1)
        profiles.append(_profile(offsets, None if widths is None else wide(widths[i]), version))
    if version != "v0":
        total = profiles[0].sum(-1)
        for profile in profiles[1:]:
            total = total * profile.sum(-1)
        values = values / (total + 1e-7)
    left = values.unsqueeze(-1)  # (out, in, n, cells of the axes so far)
    for profile in profiles[:-1]:
        left = (left.unsqueeze(-1) * profile.unsqueeze(-2)).flatten(-2)
    kernel = left.transpose(-1, -2) @ profiles[-1]
    return kernel.reshape(*kernel.shape[:2], *size).to(weight.dtype)


def _profile(offsets: Tensor, width: Tensor | None, version: str) -> Tensor:
    """f along one axis for `offsets` (..., n, side)."""
    if version in LEAST_WIDTH:
        width = (width.abs() + LEAST_WIDTH[version]).unsqueeze(-1)
    if version == "gauss":
        return (-0.5 * (offsets / width).square()).exp()
    return ((1 if version in ("v0", "v1") else width) - offsets.abs()).relu()


class _Dcls(CachesKernel):
    """Convolution with learnable spacings.

    Positions start near the middle. Training may carry them out of the window, where they lose their weight: let
    `custom_hooks = [dict(type='ClampPositionsHook')]` or your own loop call `clamp_parameters()` after each step.
    In evaluation the dense kernel is made once; `switch_to_deploy()` leaves a plain convolution with it.

    Args:
        in_channels, out_channels, stride, padding, dilation, groups, bias, padding_mode: as of a plain convolution.
        kernel_size: sides of the window, or of the kernel for which this stands where `dilated_kernel_size` is given.
        kernel_count: number of weights for each pair of channels; the cells of `kernel_size` when left out.
        dilated_kernel_size: sides of a larger window. The padding then grows, so that outputs keep the size that
            `kernel_size` gives: `conv_cfg=dict(type='Dcls2d', dilated_kernel_size=7)` suits any network of 3x3 kernels.
        version: v0, v1, max or gauss. Published ConvNeXts have depthwise 17x17 windows with 34 weights (v1) or 26
            (gauss).

    Raises:
        ValueError: `version` is unknown, or `dilated_kernel_size` is not larger by an even number.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        kernel_count: int | None = None,
        dilated_kernel_size: int | Sequence[int] | None = None,
        version: str = "v1",
    ):
        if version not in VERSIONS:
            raise ValueError(f"{type(self).__name__}: version must be one of {', '.join(VERSIONS)}, got {version!r}")
        kernel_size, padding, dilation = (
            (value,) * self.DIMS if isinstance(value, int) else value for value in (kernel_size, padding, dilation)
        )
        count = kernel_count or math.prod(kernel_size)
        if dilated_kernel_size is not None:
            kernel_size, padding = self._widened(kernel_size, padding, dilation, dilated_kernel_size)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self.version = version
        shape = (out_channels, in_channels // groups, count)
        self.weight = nn.Parameter(self.weight.new_empty(shape))
        self.P = nn.Parameter(self.weight.new_empty(len(self.kernel_size), *shape))
        width = START_WIDTH.get(version)
        self.SIG = None if width is None else nn.Parameter(torch.full_like(self.P, width))
        self.reset_parameters()
        nn.init.normal_(self.P, std=SPREAD)
        self.clamp_parameters()

    def _widened(
        self, small: Sequence[int], padding: Sequence[int] | str, dilation: Sequence[int], size: int | Sequence[int]
    ) -> tuple[Sequence[int], Sequence[int] | str]:
        """A window of `size` in place of `small`, and the padding that keeps the output's size."""
        size = (size,) * self.DIMS if isinstance(size, int) else tuple(size)
        growth = [new - old for new, old in zip(size, small, strict=True)]
        if any(more < 0 or more % 2 for more in growth):
            raise ValueError(
                f"{type(self).__name__}: dilated_kernel_size must exceed kernel_size {tuple(small)} by even numbers, "
                f"got {size}"
            )
        if isinstance(padding, str):
            return size, padding
        return size, tuple(pad + d * more // 2 for pad, d, more in zip(padding, dilation, growth, strict=True))

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, *sides) -> (B, out_channels, *sides')
        return self._conv_forward(x, self.cached(self.dense_kernel), self.bias)

    def dense_kernel(self) -> Tensor:
        """The kernel (out_channels, in_channels / groups, *kernel_size)."""
        return construct_kernel(self.weight, self.P, self.SIG, self.kernel_size, self.version)

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Bring positions back into the window."""
        for positions, side in zip(self.P, self.kernel_size, strict=True):
            positions.clamp_(-(side // 2), side // 2)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Become a plain convolution with the dense kernel."""
        self.weight = nn.Parameter(self.dense_kernel(), requires_grad=self.weight.requires_grad)
        del self.P, self.SIG, self.version
        self.forget()
        self.__class__ = self.PLAIN  # the rest of its state is a plain convolution's


@MODELS.register_module()
class Dcls1d(_Dcls, nn.Conv1d):
    __doc__ = _Dcls.__doc__
    EXAMPLE = dict(input=(2, 64, 50))
    DIMS, PLAIN = 1, nn.Conv1d


@MODELS.register_module()
class Dcls2d(_Dcls, nn.Conv2d):
    __doc__ = _Dcls.__doc__
    DIMS, PLAIN = 2, nn.Conv2d


@MODELS.register_module()
class Dcls3d(_Dcls, nn.Conv3d):
    __doc__ = _Dcls.__doc__
    EXAMPLE = dict(input=(2, 64, 4, 6, 5))
    DIMS, PLAIN = 3, nn.Conv3d
