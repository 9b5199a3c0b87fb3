"""MSAConv: self-attention in each window of a convolution, then the convolution.

TiC: Exploring Vision Transformer in Convolution, 2023, arXiv 2310.04134.

    q, k, v = conv_1x1(x)
    a[p, o] = softmax over o in the window of (q[p] . k[p + o] / sqrt(C))
    y = relu(conv(x + sum over o of a[p, o] v[p + o]))

Neighbours outside the map are zeros: their score is 0 and they take part in the softmax. Window and kernel have the
same size. Windows are read by shifting the map; they are never gathered.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

Pair = tuple[int, int]


def shifted(x: Tensor, kernel_size: Pair, dilation: Pair) -> list[Tensor]:
    """For each place of the window, row by row, the map x (B, C, H, W) moved by it, zeros coming in."""
    reach = [step * (side // 2) for side, step in zip(kernel_size, dilation, strict=True)]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    height, width = x.shape[2:]
    rows, columns = (range(0, side * step, step) for side, step in zip(kernel_size, dilation, strict=True))
    return [padded[:, :, row : row + height, column : column + width] for row in rows for column in columns]


def window_scores(query: Tensor, key: Tensor, kernel_size: Pair, dilation: Pair = (1, 1)) -> Tensor:
    """query[p] . key[p + o]: two maps (B, C, H, W) -> (B, window, H, W)."""
    return torch.stack([torch.einsum("bchw,bchw->bhw", query, near) for near in shifted(key, kernel_size, dilation)], 1)


def window_sum(attention: Tensor, value: Tensor, kernel_size: Pair, dilation: Pair = (1, 1)) -> Tensor:
    """Sum over o of attention[p, o] * value[p + o]: (B, window, H, W), (B, C, H, W) -> (B, C, H, W)."""
    places = zip(attention.split(1, 1), shifted(value, kernel_size, dilation), strict=True)
    weight, near = next(places)
    out = weight * near
    for weight, near in places:
        out = out + weight * near
    return out


@MODELS.register_module()
class MSAConv(_ConvNd):
    """Attention of one head in each window, a residual, a convolution and ReLU.

    Args:
        in_channels, out_channels, stride, padding, bias: as of nn.Conv2d, of the convolution at the end.
        kernel_size: of window and convolution, odd.
        dilation: of both.
        groups: 1, the one that is offered.
        dropout: rate, on the attention.

    Raises:
        ValueError: `kernel_size` is even or `groups` is not 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair = 1,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = False,
        dropout: float = 0.1,
    ):
        kernel_size, stride, padding, dilation = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (kernel_size, stride, padding, dilation)
        )
        if not all(side % 2 for side in kernel_size):
            raise ValueError(f"MSAConv: kernel_size must be odd, got {kernel_size}")
        if groups != 1:
            raise ValueError(f"MSAConv: groups must be 1, got {groups}")
        geometry = (kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, *geometry, False, (0, 0), 1, False, "zeros")
        self.weight = None
        self.qkv_conv = nn.Conv2d(in_channels, 3 * in_channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Conv2d(in_channels, out_channels, *geometry, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_channels, H, W) -> (B, out_channels, H', W')
        query, key, value = self.qkv_conv(x).chunk(3, 1)
        window = (self.kernel_size, self.dilation)
        scores = window_scores(query * self.in_channels**-0.5, key, *window)
        return self.mlp(x + window_sum(self.dropout(scores.softmax(1)), value, *window)).relu()
