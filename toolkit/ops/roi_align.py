"""RoIAlign: average (or maximum) of bilinear samples in each bin of a box.

Mask R-CNN, ICCV 2017, arXiv 1703.06870.

Shapes: input (B, C, H, W); rois (K, 5) as batch index, x1, y1, x2, y2 in pixels of the picture; output (K, C, h, w).
`aligned` shifts boxes by half a pixel, so that pixel centres lie at integers; without it boxes are at least one pixel.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from toolkit.ops.bilinear import bilinear_corners
from toolkit.ops.precision import wide

MAX, AVERAGE = range(2)
FAR_OUTSIDE = -2.0  # a coordinate that takes no part in the interpolation


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` and, for `MAX`, the coordinates (K, C, h, w) of the largest samples.

    Args:
        sampling_ratio: samples per bin and axis; 0 for as many as a bin has pixels, rounded up.
    """
    x = wide(input)
    rois = rois.to(x)
    size = (aligned_height, aligned_width)
    if pool_mode == AVERAGE:
        output.copy_(torchvision.ops.roi_align(x, rois, size, spatial_scale, sampling_ratio, aligned))
        return
    argmax_y.fill_(FAR_OUTSIDE)
    argmax_x.fill_(FAR_OUTSIDE)
    start, bin_size = _bins(rois, size, spatial_scale, aligned)
    grid = bin_size.ceil().long() if sampling_ratio <= 0 else torch.full_like(bin_size, sampling_ratio).long()
    for rows, columns in grid.unique(dim=0).tolist():
        if rows <= 0 or columns <= 0:
            continue
        chosen = (grid == grid.new_tensor([rows, columns])).all(1).nonzero().squeeze(1)
        fine = (aligned_height * rows, aligned_width * columns)  # one sample per fine bin
        samples = torchvision.ops.roi_align(x, rois[chosen], fine, spatial_scale, 1, aligned)
        largest, where = F.max_pool2d(samples, (rows, columns), return_indices=True)
        output[chosen] = largest.to(output)
        point = start[chosen, :, None, None, None]
        step = bin_size[chosen, :, None, None, None] / bin_size.new_tensor([rows, columns])[:, None, None, None]
        argmax_y[chosen] = (point[:, 0] + (where // fine[1] + 0.5) * step[:, 0]).to(argmax_y)
        argmax_x[chosen] = (point[:, 1] + (where % fine[1] + 0.5) * step[:, 1]).to(argmax_x)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `grad_input` (B, C, H, W)."""
    grad = wide(grad_output)
    batch, channels, height, width = grad_input.shape
    if pool_mode == AVERAGE:
        geometry = (spatial_scale, aligned_height, aligned_width, *grad_input.shape, sampling_ratio, aligned)
        grad_input.copy_(torch.ops.torchvision._roi_align_backward(grad, rois.to(grad), *geometry))
        return
    index, weight = bilinear_corners(wide(argmax_y), wide(argmax_x), height, width)  # (4, K, C, h, w)
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (K, C)
    index += plane[:, :, None, None] * (height * width)
    total = grad.new_zeros(batch * channels * height * width)
    total.index_add_(0, index.flatten(), (weight * grad).flatten())
    grad_input.copy_(total.view_as(grad_input))


def _bins(rois: Tensor, size: tuple[int, int], spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """First corner and bin size of each box on the feature map, both (K, 2) as (y, x)."""
    corners = rois[:, [2, 1, 4, 3]] * spatial_scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    return corners[:, :2], extent / extent.new_tensor(size)
