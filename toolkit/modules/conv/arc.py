"""ARC: a convolution whose kernels turn to the angles that they see in the picture.

Adaptive Rotated Convolution for Rotated Object Detection, ICCV 2023, arXiv 2303.07820.

    K = sum over n of a_n * rotate(W_n, t_n)        y = conv(x, K)
    h = mean over H, W of relu(layer_norm(dw_3x3(x)))
    a = sigmoid(linear(h))        t = 40 degrees * softsign(linear(h))

A 3x3 kernel is turned about its middle by bilinear interpolation between its cells.
"""

import math

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from toolkit.ops.precision import wide

CELLS = 9
TERMS = 4  # of an entry of the rotation matrix: 1, cos, sin, cos * sin


def _turns() -> Tensor:
    """(9 new cells, 9 old cells, 4): for angles from 0 on, the factors of the terms.

    A corner takes part of the next one along the outline; the middle of a side takes parts of the four cells that its
    place lies between. A quarter turn of the square gives the other corners and sides.
    """
    first = torch.zeros(3, 3, 3, 3, TERMS, device="cpu")  # new row and column, old row and column
    for new, old, factors in (
        ((0, 0), (0, 0), (0, 1, -1, 0)),
        ((0, 0), (0, 1), (1, -1, 1, 0)),
        ((0, 1), (0, 1), (0, 1, 0, -1)),
        ((0, 1), (0, 2), (0, 0, 0, 1)),
        ((0, 1), (1, 1), (1, -1, -1, 1)),
        ((0, 1), (1, 2), (0, 0, 1, -1)),
    ):
        first[new + old] = torch.tensor(factors, dtype=first.dtype, device="cpu")
    turns = sum(first.rot90(-quarter, (0, 1)).rot90(-quarter, (2, 3)) for quarter in range(4))
    turns[1, 1, 1, 1, 0] = 1  # the middle stays
    return turns.view(CELLS, CELLS, TERMS)


TURNS = _turns()


def rotation_matrices(angles: Tensor) -> Tensor:
    """Matrices that turn 3x3 kernels, cells row by row.

    Args:
        angles: (...), radians, between -45 and 45 degrees.

    Returns:
        (..., 9 new cells, 9 old cells).
    """
    cos, sin = angles.cos(), angles.abs().sin()
    terms = torch.stack([torch.ones_like(cos), cos, sin, cos * sin], -1)
    matrices = (TURNS.to(terms) @ terms[..., None, :, None]).squeeze(-1)
    # the other way round is the mirror image of the same turn
    mirrored = matrices.unflatten(-1, (3, 3)).unflatten(-3, (3, 3)).flip(-4, -2).flatten(-4, -3).flatten(-2)
    return torch.where((angles >= 0)[..., None, None], matrices, mirrored)


def rotated_kernels(weight: Tensor, gates: Tensor, angles: Tensor) -> Tensor:
    """The kernel of each picture: all kernels turned, weighed and added up.

    Args:
        weight: (n, out, in, 3, 3).
        gates: (B, n).
        angles: (B, n), radians, between -45 and 45 degrees.

    Returns:
        (B, out, in, 3, 3).
    """
    matrices = rotation_matrices(angles) * gates[..., None, None]
    return torch.einsum("noiq,bnpq->boip", weight.flatten(3), matrices).unflatten(-1, (3, 3))


class Routing(nn.Module):
    """Gates and angles of the kernels, from the picture.

    Args:
        in_channels: C of the map.
        kernel_number: n.
        dropout: rate, on the features that are averaged over the map.
        proportion: largest angle, degrees.
    """

    def __init__(self, in_channels: int, kernel_number: int, dropout: float, proportion: float):
        super().__init__()
        self.limit = math.radians(proportion)
        self.dwc = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.norm = nn.LayerNorm(in_channels)
        self.dropout = nn.Dropout(dropout)
        self.fc_alpha = nn.Linear(in_channels, kernel_number)
        self.fc_theta = nn.Linear(in_channels, kernel_number, bias=False)
        for layer in (self.fc_alpha, self.fc_theta):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.fc_alpha.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, H, W) -> twice (B, n)
        features = self.norm(self.dwc(x).flatten(2).transpose(1, 2)).relu().mean(1)
        gates = self.fc_alpha(self.dropout(features)).sigmoid()
        return gates, F.softsign(self.fc_theta(self.dropout(features))) * self.limit


@MODELS.register_module()
class ARC(_ConvNd):
    """Adaptive rotated convolution.

    Args:
        in_channels, out_channels, stride, padding, dilation, groups: as of nn.Conv2d.
        kernel_size: 3, the one that is offered.
        bias: learn a bias; published networks have none.
        kernel_number: n, kernels that are mixed.
        dropout: rate, on the features that give gates and angles.
        proportion: largest angle, degrees, up to 45.

    Raises:
        ValueError: `kernel_size` is not 3, or `proportion` is not between 0 and 45.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        kernel_number: int = 4,
        dropout: float = 0.2,
        proportion: float = 40.0,
    ):
        if kernel_size not in (3, (3, 3)):
            raise ValueError(f"ARC: kernel_size must be 3, got {kernel_size}")
        if not 0 <= proportion <= 45:
            raise ValueError(f"ARC: proportion must be between 0 and 45 degrees, got {proportion}")
        stride, padding, dilation = map(_pair, (stride, padding, dilation))
        super().__init__(
            in_channels, out_channels, (3, 3), stride, padding, dilation, False, (0, 0), groups, bias, "zeros"
        )
        self.kernel_number = kernel_number
        self.weight = nn.Parameter(self.weight.repeat(kernel_number, 1, 1, 1))  # 4-D, as channels_last wants it
        self.routing = Routing(in_channels, kernel_number, dropout, proportion)
        self.init_weights()

    def init_weights(self) -> None:
        """Start with mixtures of the size that He's rule gives, with all gates near 1/2."""
        fan_out = self.out_channels // self.groups * CELLS
        nn.init.normal_(self.weight, std=2 * (2 / fan_out / self.kernel_number) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H', W')
        geometry = (self.stride, self.padding, self.dilation)
        if x.shape[0] == 0:
            return F.conv2d(x, self.weight[: self.out_channels], self.bias, *geometry, self.groups)
        gates, angles = map(wide, self.routing(x))
        weight = self.weight.unflatten(0, (self.kernel_number, -1))
        kernels = rotated_kernels(weight, gates.to(weight.dtype), angles.to(weight.dtype))
        y = F.conv2d(x.flatten(0, 1)[None], kernels.flatten(0, 1), None, *geometry, x.shape[0] * self.groups)
        y = y[0].unflatten(0, (-1, self.out_channels))
        return y if self.bias is None else y + self.bias[:, None, None]


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
