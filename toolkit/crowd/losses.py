"""Losses of crowd counters: of density and attention, of counts in regions, and the Bayesian loss of points.

All take what a network gives, `density` (B, 1, H, W) in people per cell and `attention` (B, 1, H, W) or None, and the
targets of a batch by name, each a list with one entry for each picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


def _target_density(density: Tensor, targets: Mapping[str, Any]) -> Tensor:
    return torch.stack(list(targets["density"])).to(density)


@MODELS.register_module()
class DensityAttentionLoss(nn.Module):
    """Squared errors of density, and cross-entropy of attention against where the density is high.

    SFANet: Dual Path Multi-Scale Fusion Networks with Attention for Crowd Counting, arXiv 1902.01115.

        (sum (d - d')^2 + attention_weight * sum BCE(a, d' > threshold)) / B

    Args:
        density_weight: of the first part.
        attention_weight: of the second part.
        threshold: people per cell above which attention should be 1. The published one is 0.001 for each pixel, thus
            0.004 for a cell of 2 x 2.
    """

    def __init__(self, density_weight: float = 1.0, attention_weight: float = 0.1, threshold: float = 0.004):
        super().__init__()
        self.density_weight, self.attention_weight, self.threshold = density_weight, attention_weight, threshold

    def forward(self, density: Tensor, attention: Tensor | None, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        wanted = _target_density(density, targets)
        losses = {"loss_density": self.density_weight * (density - wanted).square().sum() / len(density)}
        if attention is not None and self.attention_weight:
            with torch.autocast(density.device.type, enabled=False):
                entropy = F.binary_cross_entropy(attention.float(), (wanted > self.threshold).float(), reduction="sum")
            losses["loss_attention"] = self.attention_weight * entropy / len(density)
        return losses


@MODELS.register_module()
class RegionCountLoss(nn.Module):
    """Absolute errors of the counts of square regions, summed over a picture: what the counter is judged by.

    Args:
        sizes: sides of the regions in cells; 0 stands for the whole picture.
        loss_weight: times the mean over pictures and sizes.
    """

    def __init__(self, sizes: Sequence[int] = (0,), loss_weight: float = 1.0):
        super().__init__()
        self.sizes, self.loss_weight = tuple(sizes), loss_weight

    def forward(self, density: Tensor, attention: Tensor | None, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        error = density - _target_density(density, targets)
        total = density.new_zeros(())
        for size in self.sizes:
            kernel = (size, size) if size else error.shape[2:]
            counts = F.avg_pool2d(error, kernel, ceil_mode=True, divisor_override=1)
            total = total + counts.abs().sum() / len(error)
        return {"loss_count": self.loss_weight * total / len(self.sizes)}


@MODELS.register_module()
class BayesianLoss(nn.Module):
    """Each head should receive one person from the cells that are likely its own.

    Bayesian Loss for Crowd Count Estimation with Point Supervision, ICCV 2019, arXiv 1908.03684.

        p(n | cell) = softmax over n of -|cell - head_n|^2 / (2 sigma^2)
        loss        = sum over n of |share_n - sum over cells of density * p(n | cell)|, background with share 0

    `share_n` is the part of head n's box inside the crop. The background's distance from a cell is
    background_ratio * (shorter side of the picture) minus that to the nearest head. The loss is summed over the heads
    of a picture and divided by the number of pictures; a picture without heads costs |sum of density|.

    Args:
        sigma: in pixels.
        background_ratio: None for no background.
        stride: pixels along a cell's side.
    """

    def __init__(self, sigma: float = 8.0, background_ratio: float | None = 1.0, stride: int = 2):
        super().__init__()
        self.sigma, self.background_ratio, self.stride = sigma, background_ratio, stride

    def posterior(self, points: Tensor, shorter_side: float, size: Sequence[int]) -> Tensor:
        """(N + background, H * W) for heads (N, 2) x, y in pixels and a map of size (H, W); no rows without heads."""
        height, width = size
        centres = [(torch.arange(cells).to(points) + 0.5) * self.stride for cells in (height, width)]
        if not len(points):
            return points.new_zeros(0, height * width)
        rows = (centres[0] - points[:, 1:]).square()
        columns = (centres[1] - points[:, :1]).square()
        distances = (rows[:, :, None] + columns[:, None, :]).flatten(1)  # squared
        if self.background_ratio is not None:
            nearest = distances.amin(0, keepdim=True).sqrt()
            distances = torch.cat((distances, (self.background_ratio * shorter_side - nearest).square()))
        return (distances / (-2 * self.sigma**2)).softmax(0)

    def forward(self, density: Tensor, attention: Tensor | None, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        density = density.float()
        total = density.new_zeros(())
        for cells, points, shares, side in zip(
            density, targets["points"], targets["shares"], targets["shorter_side"], strict=True
        ):
            points, shares = points.to(density), shares.to(density)
            if not len(points):
                total = total + cells.sum().abs()
                continue
            expected = self.posterior(points, side, cells.shape[1:]) @ cells.flatten()
            total = total + (shares - expected[: len(shares)]).abs().sum() + expected[len(shares) :].abs().sum()
        return {"loss_bayesian": total / len(density)}
