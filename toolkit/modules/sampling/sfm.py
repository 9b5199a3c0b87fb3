"""SFM: give areas of high frequency more room before a map is made smaller, and take it back afterwards.

Spatial Frequency Modulation for Semantic Segmentation, TPAMI 2025, arXiv 2507.11893.

    y = x(T(q))        T = S^-1, dS/dp large where x has high frequencies        (modulation, before downsampling)
    z = f(y)(S(p))                                                               (demodulation, after the network)

A signal that is stretched in space has its frequencies lowered by the same factor, so that less of it lies above the
limit of the next, coarser grid. What the paper's abstract fixes is this: adaptive resampling (ARS) samples areas of
high frequency densely through a learned map of coordinates that keeps their order, and upsampling undoes it. The form
of the map is this project's own: it moves mass of a density d(x, y) > 0 until it lies evenly, first along y and then,
in each row, along x (a Knothe-Rosenblatt rearrangement),

    S(x, y) = (F(x | y), G(y)),    G' = integral of d over x,    dF/dx = d(x, y) / G'(y)

so that the Jacobian matrix is triangular with a determinant proportional to d, which is positive whatever the weights
are: the map cannot fold, and both parts are inverted exactly, one dimension at a time. Maps are stored at the corners
of the cells of the grid that they were made on and are bilinear between; the borders of the picture stay in place.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

LIMIT = 1.5  # the density lies between exp(-LIMIT) and exp(LIMIT) before it is normalised
FLOOR = 0.05  # of the energy, whose mean is 1: flat areas keep some room


def forward_map(density: Tensor) -> Tensor:
    """S of the module's docstring: where each place of the unmodulated map goes.

    Args:
        density: (B, H, W), positive.

    Returns:
        (B, 2, H + 1, W + 1), x and y in [0, 1] at the corners of the cells.
    """
    rows = torch.cat([density[:, :1], density, density[:, -1:]], 1)
    at_edges = (rows[:, 1:] + rows[:, :-1]) / 2  # (B, H + 1, W)
    x = cumulative(at_edges)
    y = cumulative(density.sum(2)).unsqueeze(2).expand_as(x)
    return torch.stack([x, y], 1)


def cumulative(mass: Tensor) -> Tensor:
    """(..., n) -> (..., n + 1): sums from 0 to 1 of what is normalised to 1."""
    sums = F.pad(mass.cumsum(-1), (1, 0))
    return sums / sums[..., -1:]


def inverse_grid(s: Tensor) -> Tensor:
    """T at the centres of the cells: where the modulated map takes its values from.

    Args:
        s: (B, 2, H + 1, W + 1) from `forward_map`; its y must not depend on x.

    Returns:
        (B, H, W, 2), x and y in [0, 1].
    """
    height, width = s.shape[2] - 1, s.shape[3] - 1
    y = invert(s[:, 1, :, 0], height)  # (B, H)
    place = y * height
    above = place.detach().floor().clamp(0, height - 1).long()
    part = (place - above).unsqueeze(2)
    rows = above.unsqueeze(2).expand(-1, -1, width + 1)
    x = invert(torch.lerp(s[:, 0].gather(1, rows), s[:, 0].gather(1, rows + 1), part), width)  # (B, H, W)
    return torch.stack([x, y.unsqueeze(2).expand_as(x)], -1)


def invert(knots: Tensor, count: int) -> Tensor:
    """Where a piecewise linear, increasing function from [0, 1] onto [0, 1] takes the values (i + 0.5) / count.

    Args:
        knots: (..., n + 1), its values at i / n.

    Returns:
        (..., count), in [0, 1].
    """
    n = knots.shape[-1] - 1
    values = (torch.arange(count, device=knots.device, dtype=knots.dtype) + 0.5) / count
    values = values.expand(*knots.shape[:-1], count).contiguous()
    right = torch.searchsorted(knots.detach().contiguous(), values).clamp(1, n)
    low, high = knots.gather(-1, right - 1), knots.gather(-1, right)
    return (right - 1 + (values - low) / (high - low)) / n


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The map that goes through `first` and then through `second`, at the corners of `first`'s cells."""
    return sample(second, first.movedim(1, -1), corners=True)


def sample(x: Tensor, grid: Tensor, corners: bool = False) -> Tensor:
    """Values of `x` (B, C, H, W) at `grid` (B, H', W', 2) in [0, 1], bilinear, in float32 or better.

    Args:
        corners: whether the outermost values lie on the border of the picture or half a cell inside.
    """
    if x.shape[0] == 0:
        return x.new_zeros(0, x.shape[1], *grid.shape[1:3])
    exact = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    with torch.autocast(x.device.type, enabled=False):
        y = F.grid_sample(exact, 2 * grid.to(exact.dtype) - 1, "bilinear", "border", align_corners=corners)
    return y.to(x.dtype)


def demodulate(x: Tensor, s: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Undo the modulation of `x` on an even grid of `size` (that of `x` by default).

    Args:
        x: (B, C, H, W), a modulated map of any resolution.
        s: (B, 2, h, w), the composed map of all modulations before it.
    """
    return sample(x, even_grid(s, size or x.shape[2:]))


def even_grid(s: Tensor, size: tuple[int, int]) -> Tensor:
    """`s` at the centres of the cells of an even grid: (B, H, W, 2), in [0, 1]."""
    y, x = ((torch.arange(n, device=s.device, dtype=s.dtype) + 0.5) / n for n in size)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(s.shape[0], -1, -1, -1)
    return sample(s, grid, corners=True).movedim(1, -1)


def stretching(s: Tensor) -> Tensor:
    """Determinant of the Jacobian of `s` in each of its cells: (B, 1, H, W); 1 where nothing is stretched."""
    height, width = s.shape[2] - 1, s.shape[3] - 1
    right, down = s.diff(dim=3) * width, s.diff(dim=2) * height
    right = (right[:, :, 1:] + right[:, :, :-1]) / 2
    down = (down[..., 1:] + down[..., :-1]) / 2
    return right[:, :1] * down[:, 1:] - right[:, 1:] * down[:, :1]


def blur_matrix(x: Tensor, dim: int, deviation: float) -> Tensor:
    """(n, n) that blurs dimension `dim` of `x`, of n, with a Gaussian; rows sum to 1, so borders do not darken."""
    place = torch.arange(x.shape[dim], device=x.device, dtype=x.dtype)
    return torch.softmax(-0.5 * ((place[:, None] - place) / deviation).square(), 1)


@MODELS.register_module()
class AdaptiveResampling(nn.Module):
    """ARS: resample a map so that its areas of high frequency get more of the grid. Begins as the identity.

    The logarithm of the density is a learned sum over scales of the logarithm of the high-frequency energy there, and
    the energy a learned mean over channels of the distance to the mean of 3x3. Both are this project's choice.

    Args:
        in_channels: C of the map.
        scales: standard deviations of the Gaussians that gather the energy, in longer sides of the map.
    """

    def __init__(self, in_channels: int, scales: tuple[float, ...] = (1 / 64, 1 / 32, 1 / 16)):
        super().__init__()
        self.scales = scales
        self.channel_weight = nn.Parameter(torch.zeros(in_channels))
        self.scale_weight = nn.Parameter(torch.zeros(len(scales)))

    def density(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W), between exp(-LIMIT) and exp(LIMIT), in float32 or better."""
        with torch.autocast(x.device.type, enabled=False):
            return self._density(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)

    def _density(self, x: Tensor) -> Tensor:
        detail = (x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)).abs()
        energy = torch.einsum("bchw,c->bhw", detail, self.channel_weight.to(x.dtype).softmax(0)).unsqueeze(1)
        energy = energy / energy.mean((2, 3), keepdim=True).clamp(min=1e-6)
        logits = torch.zeros_like(energy)
        for scale, weight in zip(self.scales, self.scale_weight, strict=True):
            deviation = scale * max(x.shape[2:])
            smooth = blur_matrix(energy, 2, deviation) @ energy @ blur_matrix(energy, 3, deviation).T
            logits = logits + weight * (smooth + FLOOR).log()
        return (LIMIT * torch.tanh(logits / LIMIT)).exp().squeeze(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Modulate.

        Args:
            x: (B, C, H, W).

        Returns:
            The modulated map (B, C, H, W), and its S (B, 2, H + 1, W + 1), which `demodulate` takes.
        """
        s = forward_map(self.density(x))
        return sample(x, inverse_grid(s)), s


class Modulated(tuple):
    """Maps of a backbone that were modulated on the way, each with its composed S or None.

    Attributes:
        maps: as many as there are maps.
    """

    maps: tuple[Tensor | None, ...]

    def __new__(cls, features, maps):
        self = super().__new__(cls, features)
        self.maps = tuple(maps)
        return self
