"""ContextAwareModule: each place weighs the means of its surroundings at four scales.

Context-Aware Crowd Counting, CVPR 2019, arXiv 1811.10452.

    s_k = resize(W_k mean_{k x k}(x)),   w_k = sigmoid(V (x - s_k) + b)
    y   = relu(U [sum_k w_k s_k / sum_k w_k ; x])

V is shared by the scales. A 1x1 convolution and a resizing may change places, so V runs once on x and on the small
means, and not on every enlarged one. The resizing has align_corners=False, unlike all else in M-SFANet.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ContextAwareModule(nn.Module):
    """Join a map with its context at several scales.

    Args:
        in_channels: C of the input and of the output.
        pool_sizes: cells along each side of the means.
    """

    def __init__(self, in_channels: int, pool_sizes: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        self.pool_sizes = tuple(pool_sizes)
        self.scales = nn.ModuleList(nn.Conv2d(in_channels, in_channels, 1, bias=False) for _ in pool_sizes)
        self.weight_net = nn.Conv2d(in_channels, in_channels, 1)
        self.bottleneck = nn.Conv2d(2 * in_channels, in_channels, 1)

    def means(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> (B, C, k, k) for each k of `pool_sizes`."""
        return [F.adaptive_avg_pool2d(x, size) for size in self.pool_sizes]

    def forward(
        self, x: Tensor, means: Sequence[Tensor] | None = None, enlarge: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W).

        Args:
            x: the map.
            means: of the whole map, where `x` is a piece of it.
            enlarge: brings such means to the place and size of `x`.
        """
        enlarge = enlarge or partial(F.interpolate, size=x.shape[2:], mode="bilinear", align_corners=False)
        scales = [scale(mean) for scale, mean in zip(self.scales, means or self.means(x), strict=True)]
        own = self.weight_net(x)
        total, weights = torch.zeros_like(x), torch.zeros_like(x)
        for scale in scales:
            offset = F.conv2d(scale, self.weight_net.weight)
            weight = (own - enlarge(offset)).sigmoid()
            total = total + weight * enlarge(scale)
            weights = weights + weight
        # not relu(), which keeps its result for the backward pass: what follows may add to it in place
        return self.bottleneck(torch.cat((total / weights, x), 1)).clamp(min=0)
