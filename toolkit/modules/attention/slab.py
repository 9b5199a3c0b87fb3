"""SimplifiedLinearAttention: linear attention with ReLU as its only kernel, and a convolution of the values.

SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization,
ICML 2024, arXiv 2405.11582.

    q, k, v = W x        q = relu(q)        k = relu(k + p)
    y = W' (q (k^T v) / (q . sum of k + 1e-6) + conv_5x5(v))

p is a learned position encoding; the 5x5 convolution is depth-wise and its kernels are the same for every head. Its
cost grows linearly with the number of tokens.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.utils import _pair

EPS = 1e-6


@MODELS.register_module()
class SimplifiedLinearAttention(nn.Module):
    """Linear attention over a whole map, given as a map (B, C, H, W) or as its tokens (B, H * W, C), row by row.

    Args:
        in_channels: C of the input.
        num_heads: heads, contiguous blocks of channels.
        size: (H, W) for which the position encoding is learned, or one number for both; for maps of another size it is
            resized bicubically.
        kernel_size: of the convolution of the values, odd.
        qkv_bias: whether queries, keys and values have a bias.

    Raises:
        ValueError: `num_heads` does not divide `in_channels`, `kernel_size` is even, or tokens do not fill the map.
    """

    def __init__(
        self,
        in_channels: int,
        num_heads: int = 4,
        size: int | tuple[int, int] = 14,
        kernel_size: int = 5,
        qkv_bias: bool = True,
    ):
        super().__init__()
        name = type(self).__name__
        if in_channels % num_heads:
            raise ValueError(f"{name}: in_channels must be divisible by num_heads {num_heads}, got {in_channels}")
        if kernel_size % 2 == 0:
            raise ValueError(f"{name}: kernel_size must be odd, got {kernel_size}")
        self.num_heads, self.size = num_heads, _pair(size)
        width = in_channels // num_heads
        self.qkv = nn.Linear(in_channels, 3 * in_channels, bias=qkv_bias)
        self.positional_encoding = nn.Parameter(torch.zeros(1, self.size[0] * self.size[1], in_channels))
        self.dwc = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.proj = nn.Linear(in_channels, in_channels)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:  # -> the same shape
        """Attend.

        Args:
            x: (B, C, H, W), or (B, N, C).
            size: (H, W) of N tokens; without it the size that the module was built for.
        """
        if x.dim() == 4:
            tokens = self._attend(x.flatten(2).transpose(1, 2), tuple(x.shape[2:]))
            return tokens.transpose(1, 2).reshape(x.shape)
        size = size or self.size
        if x.shape[1] != size[0] * size[1]:
            raise ValueError(f"{type(self).__name__}: {x.shape[1]} tokens do not fill a map of {size[0]} x {size[1]}")
        return self._attend(x, size)

    def _attend(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)  # (B, N, C) each
        k = k + self._position(size)
        heads = [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q.relu(), k.relu(), v)]
        return self.proj(_linear_attention(*heads).to(v.dtype).transpose(1, 2).flatten(2) + self._local(v, size))

    def _position(self, size: tuple[int, int]) -> Tensor:
        if size == self.size:
            return self.positional_encoding
        learned = self.positional_encoding.transpose(1, 2).unflatten(2, self.size)
        return F.interpolate(learned, size, mode="bicubic").flatten(2).transpose(1, 2)

    def _local(self, v: Tensor, size: tuple[int, int]) -> Tensor:  # (B, N, C) -> (B, N, C)
        maps = v.unflatten(1, size).permute(0, 3, 1, 2)  # in channels-last order as it is
        if self.dwc.groups == v.shape[-1]:
            local = self.dwc(maps)
        else:
            weight, bias = self._kernels()
            local = F.conv2d(maps, weight, bias, padding=self.dwc.padding, groups=len(weight))
        return local.flatten(2).transpose(1, 2)

    def _kernels(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution for the channels of all heads."""
        return self.dwc.weight.repeat(self.num_heads, 1, 1, 1), self.dwc.bias.repeat(self.num_heads)

    def switch_to_deploy(self) -> None:
        """Keep a copy of the kernels for each head."""
        if self.dwc.groups < self.proj.in_features:
            weight, bias = self._kernels()
            size, padding = self.dwc.kernel_size, self.dwc.padding
            self.dwc = nn.Conv2d(len(weight), len(weight), size, padding=padding, groups=len(weight)).to(weight)
            self.dwc.weight.data, self.dwc.bias.data = weight.detach(), bias.detach()


def _linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (k^T v) / (q . sum of k) in float32: (B, heads, N, width) three times -> the same."""
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = (part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in (q, k, v))
        return q @ (k.transpose(-1, -2) @ v) / (q @ k.sum(-2).unsqueeze(-1) + EPS)
