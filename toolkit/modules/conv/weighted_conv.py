"""WConv2d: a convolution whose taps count the more, or less, the nearer they are to the middle.

Optimal Weighted Convolution for Classification and Denosing, 2025, arXiv 2505.24558; the densities: Optimal Density
Functions for Weighted Convolution in Learning Models, 2025, arXiv 2505.24527.

    y = conv(x, weight * phi)        phi = outer product of (den, 1, den reversed) along every axis

den is fixed, or learned with the weights. Weight decay and initialisation then act on other sizes of taps, which is
all that it changes: each such convolution is a plain one, and `switch_to_deploy()` makes it that.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.modules.cached_kernel import CachesKernel

DENSITIES = {  # kernel size -> den, outermost first, as the authors found them best
    2: {1: (), 3: (0.7,), 5: (0.2, 0.8), 7: (0.25, 0.15, 0.55)},
    3: {1: (), 3: (0.8,), 5: (0.1, 0.7)},
}


class _WConv(CachesKernel):
    """Weighted convolution.

    Args:
        in_channels, out_channels, stride, padding, dilation, groups, bias, padding_mode: as of a plain convolution.
            The published default padding is 1 for every kernel size.
        kernel_size: odd and the same along every axis.
        den: factors of the taps beside the middle one, (kernel_size - 1) / 2 of them, outermost first; None for the
            published ones (of 2-D in 1-D, where none are).
        trainable_den: learn the factors, from `den` on. The published form has three, for 7-wide kernels alone.

    Raises:
        ValueError: `kernel_size` is even or differs between axes, or `den` does not fit it.
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
        den: Sequence[float] | None = None,
        trainable_den: bool = False,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        name, size = type(self).__name__, self.kernel_size[0]
        if size % 2 == 0 or set(self.kernel_size) != {size}:
            raise ValueError(f"{name}: kernel_size must be odd and the same along every axis, got {self.kernel_size}")
        known = DENSITIES[max(len(self.kernel_size), 2)]
        den = known.get(size) if den is None else den
        if den is None or len(den) != size // 2:
            raise ValueError(f"{name}: den must have {size // 2} factors for kernel_size {size}, got {den}")
        self.density = tuple(den)
        self.den = nn.Parameter(torch.tensor(den, dtype=self.weight.dtype)) if trainable_den else None

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, *sides) -> (B, out_channels, *sides')
        return self._conv_forward(x, self.cached(self.weighted), self.bias)

    def weighted(self) -> Tensor:
        """weight * phi."""
        den = self.weight.new_tensor(self.density) if self.den is None else self.den
        profile = torch.cat((den, den.new_ones(1), den.flip(0)))
        weight = self.weight
        for axis in range(len(self.kernel_size)):
            weight = weight * profile.view(-1, *[1] * axis)
        return weight

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Become a plain convolution with the weighted kernel."""
        self.weight = nn.Parameter(self.weighted(), requires_grad=self.weight.requires_grad)
        del self.den, self.density
        self.forget()
        self.__class__ = self.PLAIN  # the rest of its state is a plain convolution's


@MODELS.register_module()
class WConv1d(_WConv, nn.Conv1d):
    __doc__ = _WConv.__doc__
    EXAMPLE = dict(input=(2, 64, 50))
    PLAIN = nn.Conv1d


@MODELS.register_module()
class WConv2d(_WConv, nn.Conv2d):
    __doc__ = _WConv.__doc__
    PLAIN = nn.Conv2d


@MODELS.register_module()
class WConv3d(_WConv, nn.Conv3d):
    __doc__ = _WConv.__doc__
    EXAMPLE = dict(input=(2, 64, 4, 6, 5))
    PLAIN = nn.Conv3d
