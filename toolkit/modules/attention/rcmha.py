"""RCMHA: attention over a sequence with learned relative positions and convolved queries, keys and values.

RCMHA: Relative Convolutional Multi-Head Attention for Natural Language Modelling, 2023, arXiv 2308.03429.

    q, k, v = c_q(W_q x), c_k(W_k y), c_v(W_v y)        c: causal depth-wise convolution along the sequence
    score(i, j) = ((q_i + u) . k_j + q_i . e_(j - i) + b_(j - i)) / sqrt(d)
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


class ConvolvedProjection(nn.Module):
    """A linear layer, heads, and a causal convolution along the sequence with the same weights in every head."""

    def __init__(self, channels: int, num_heads: int, bias: bool, kernel_size: int):
        super().__init__()
        self.num_heads = num_heads
        depth = channels // num_heads
        self.linear = nn.Linear(channels, channels, bias)
        self.conv = nn.Conv1d(depth, depth, kernel_size, padding=kernel_size - 1, groups=depth)

    def forward(self, x: Tensor) -> Tensor:  # (B, L, C) -> (B, heads, L, C / heads)
        x = self.linear(x).unflatten(-1, (self.num_heads, -1)).permute(0, 2, 3, 1)  # (B, heads, depth, L)
        y = self.conv(x.flatten(0, 1))[..., : x.shape[-1]]
        return y.unflatten(0, x.shape[:2]).transpose(-1, -2)


@MODELS.register_module()
class RCMHA(nn.Module):
    """Relative convolutional multi-head attention.

    The authors' own training script takes an attention without the convolutions in its place; this is the class that
    the paper describes.

    Args:
        in_channels: C of the sequence.
        num_heads: heads.
        kernel_size: taps of the causal convolutions.
        max_length: positions on either side that have an embedding; sequences may be as long.
        dropout: probability, of the attention.

    Raises:
        ValueError: heads do not divide the channels, or a sequence is longer than `max_length`.
    """

    EXAMPLE = dict(args=dict(), input=(2, 12, 64))

    def __init__(
        self,
        in_channels: int,
        num_heads: int = 8,
        kernel_size: int = 3,
        max_length: int = 4096,
        dropout: float = 0.0,
    ):
        super().__init__()
        if in_channels % num_heads:
            raise ValueError(f"RCMHA: in_channels must be divisible by num_heads {num_heads}, got {in_channels}")
        self.max_length, self.dropout = max_length, dropout
        depth = in_channels // num_heads
        self.query = ConvolvedProjection(in_channels, num_heads, False, kernel_size)
        self.key = ConvolvedProjection(in_channels, num_heads, False, kernel_size)
        self.value = ConvolvedProjection(in_channels, num_heads, True, kernel_size)
        self.output = nn.Linear(in_channels, in_channels)
        self.key_pos_embeddings = nn.Parameter(torch.zeros(2 * max_length, num_heads, depth))
        self.key_pos_bias = nn.Parameter(torch.zeros(2 * max_length, num_heads))
        self.query_pos_bias = nn.Parameter(torch.zeros(num_heads, depth))

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, L, C).
            context: (B, M, C) that is attended to and whose last L places are those of x; None for x itself.
            mask: (L, M) or (B, 1, L, M), true where a place of x sees one of the context; None for all.

        Returns:
            (B, L, C).
        """
        context = x if context is None else context
        if max(x.shape[1], context.shape[1]) > self.max_length:
            longest = max(x.shape[1], context.shape[1])
            raise ValueError(f"RCMHA: max_length is {self.max_length}, got a sequence of {longest}")
        query, key, value = self.query(x), self.key(context), self.value(context)
        scores = self.relative_scores(query, key.shape[2]) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        query = query + self.query_pos_bias.unsqueeze(1)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, scores.to(query.dtype), dropout)
        return self.output(y.transpose(1, 2).flatten(2))

    def relative_scores(self, query: Tensor, length: int) -> Tensor:
        """Scores by position, (B, heads, L, length), of queries (B, heads, L, depth)."""
        near = slice(self.max_length - length, self.max_length + query.shape[2])
        scores = query @ self.key_pos_embeddings[near].permute(1, 2, 0)
        scores = scores + self.key_pos_bias[near].T.unsqueeze(1)  # (B, heads, L, length + L), by j - i
        rows, columns = scores.shape[-2:]
        skewed = F.pad(scores, (0, 1)).flatten(-2)[..., : rows * columns].unflatten(-1, (rows, columns))
        return skewed[..., -length:]  # row i is moved i places on
