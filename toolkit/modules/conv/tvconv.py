"""TVConv: a depthwise convolution with a kernel of its own at every place, the same in all pictures.

TVConv: Efficient Translation Variant Convolution for Layout-aware Visual Processing, CVPR 2022, arXiv 2203.10489.

    W = conv(relu(norm(conv( ... A))))        y[c, p] = sum over o in k*k of W[c, o, p] * x[c, p + o]

A are learned maps, one number for each place; small convolutions make the kernels W from them. As W does not depend
on the picture, it is made once in evaluation. For pictures of a fixed layout, such as aligned faces.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from toolkit.modules.cached_kernel import CachesKernel


def tap_views(x: Tensor, kernel_size: int, stride: int) -> list[Tensor]:
    """For each of the k * k taps, row by row, the view (B, C, H', W') of what it reads from x (B, C, H, W)."""
    windows = F.pad(x, (kernel_size // 2,) * 4).unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)
    return [tap for row in windows.unbind(4) for tap in row.unbind(4)]


@MODELS.register_module()
class TVConv(CachesKernel, _ConvNd):
    """Translation variant convolution. It is built for one size of map and refuses others.

    `switch_to_deploy()` leaves the kernels alone.

    Args:
        in_channels: C of the input and the output.
        out_channels: the same number.
        kernel_size: k, odd.
        stride: of the places.
        padding: (k - 1) / 2, the one that is offered.
        dilation: 1, likewise.
        groups: `in_channels`, likewise.
        bias: learn a bias for each place and channel.
        size: (height, width) of the OUTPUT.
        posi_channels: maps to start from. Zeros around them tell the places apart, for they start as ones.
        inter_channels: channels in between; the authors train with 64.
        inter_layers: hidden convolutions, less one; the authors train with 3.

    Raises:
        ValueError: an argument is not one that is offered; at call, the map is of another size.
    """

    EXAMPLE = dict(args=dict(size=(14, 14)))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | None = None,
        dilation: int | tuple[int, int] = 1,
        groups: int | None = None,
        bias: bool = False,
        *,
        size: tuple[int, int],
        posi_channels: int = 4,
        inter_channels: int = 16,
        inter_layers: int = 1,
    ):
        half = (kernel_size if isinstance(kernel_size, int) else kernel_size[0]) // 2
        offered = dict(
            kernel_size=(kernel_size, 2 * half + 1),
            stride=(stride, stride if isinstance(stride, int) else stride[0]),
            padding=(half if padding is None else padding, half),
            dilation=(dilation, 1),
        )
        for name, (given, wanted) in offered.items():
            if given not in (wanted, (wanted, wanted)):
                raise ValueError(f"TVConv: {name} must be {wanted} in both directions, got {given}")
        if out_channels != in_channels or groups not in (None, in_channels):
            raise ValueError(
                f"TVConv: out_channels and groups must be in_channels {in_channels}, got {out_channels} and {groups}"
            )
        pairs = [(wanted, wanted) for _, wanted in offered.values()]
        super().__init__(in_channels, in_channels, *pairs, False, (0, 0), in_channels, False, "zeros")
        self.weight = None
        self.size = tuple(size)
        hidden = (posi_channels, inter_channels, inter_layers)
        self.posi_map = nn.Parameter(torch.ones(1, posi_channels, *self.size))
        self.weight_layers = self._layers(*hidden, in_channels * self.kernel_size[0] ** 2)
        self.bias_layers = self._layers(*hidden, in_channels) if bias else None

    def _layers(self, first: int, hidden: int, count: int, last: int) -> nn.Sequential:
        layers = []
        for i in range(count + 1):
            conv = nn.Conv2d(hidden if i else first, hidden, 3, padding=1, bias=False)
            layers.append(nn.Sequential(conv, nn.LayerNorm((hidden, *self.size)), nn.ReLU(inplace=True)))
        return nn.Sequential(*layers, nn.Conv2d(hidden, last, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, *size)
        k, stride = self.kernel_size[0], self.stride[0]
        if tuple((side - 1) // stride + 1 for side in x.shape[2:]) != self.size:
            raise ValueError(
                f"TVConv: built for maps that become {self.size[0]}x{self.size[1]} at stride {stride}, got an input of "
                f"{x.shape[2]}x{x.shape[3]}"
            )
        kernel, bias = self.cached(self.kernels)
        if torch.is_grad_enabled():  # its backward pass adds all taps at once
            windows = F.unfold(x, k, padding=k // 2, stride=stride).unflatten(2, self.size)
            out = (windows.unflatten(1, kernel.shape[:2]) * kernel).sum(2)
        else:  # never holds all windows
            taps = zip(tap_views(x, k, stride), kernel.unbind(1), strict=True)
            out = torch.mul(*next(taps))
            for pixels, tap in taps:
                out.addcmul_(pixels, tap)
        return out if bias is None else out + bias

    def kernels(self) -> tuple[Tensor, Tensor | None]:
        """The weights (C, k * k, *size) and the bias (C, *size) of every place."""
        if self.weight_layers is None:
            return self.kernel, self.kernel_bias
        kernel = self.weight_layers(self.posi_map)[0].unflatten(0, (self.in_channels, -1))
        return kernel, None if self.bias_layers is None else self.bias_layers(self.posi_map)[0]

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Keep the kernels as buffers, in place of what makes them."""
        for name, value in zip(("kernel", "kernel_bias"), self.kernels(), strict=True):
            self.register_buffer(name, value)
        self.posi_map = self.weight_layers = self.bias_layers = None
