"""RoIPool: maximum of the pixels in each bin of a box.

Fast R-CNN, ICCV 2015, arXiv 1504.08083.

mmcv counts the last pixel in (x2 + 1) and does not round the box before it is cut into bins, unlike torchvision, so
this is written in plain torch: bins are rectangles, thus the maximum is taken along x and then along y.
"""

import torch
from torch import Tensor

NOTHING = -1  # argmax of an empty bin


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill `output` and `argmax`, both (K, C, h, w).

    Args:
        input: (B, C, H, W).
        rois: (K, 5) as batch index, x1, y1, x2, y2 in pixels of the picture.
        argmax: flat pixel index in the feature map, -1 in an empty bin.
    """
    height, width = input.shape[2:]
    output.zero_()
    argmax.fill_(NOTHING)
    begin = rois[:, 1:3].to(torch.promote_types(rois.dtype, torch.float32)) * spatial_scale
    extent = (rois[:, 3:5] + 1).to(begin) * spatial_scale - begin
    x0, x1 = _bin_edges(begin[:, 0], extent[:, 0], pooled_width, width)
    y0, y1 = _bin_edges(begin[:, 1], extent[:, 1], pooled_height, height)
    for number in (extent > 0).all(1).nonzero().squeeze(1).tolist():
        picture = input[int(rois[number, 0])]
        by_row, column = _largest(picture, x0[number], x1[number])  # (C, H, w)
        largest, row = _largest(by_row.transpose(1, 2), y0[number], y1[number])  # (C, w, h)
        column = column.gather(1, row.transpose(1, 2))
        full = (y1 > y0)[number, :, None] & (x1 > x0)[number]
        output[number] = largest.transpose(1, 2).masked_fill(~full, 0)
        argmax[number] = (row.transpose(1, 2) * width + column).masked_fill(~full, NOTHING)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each gradient to the pixel that gave the maximum."""
    channels, height, width = grad_input.shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (K, C)
    index = argmax.long().clamp(min=0) + (plane * (height * width))[:, :, None, None]
    grad = grad_output.masked_fill(argmax == NOTHING, 0)
    total = grad_input.new_zeros(grad_input.numel()).index_add_(0, index.flatten(), grad.flatten())
    grad_input.copy_(total.view_as(grad_input))


def _bin_edges(begin: Tensor, extent: Tensor, bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """First pixel of each bin and the one after its last, both (K, bins)."""
    edge = torch.arange(bins + 1, device=begin.device) * (extent / bins)[:, None] + begin[:, None]
    return edge[:, :-1].floor().clamp(0, limit).long(), edge[:, 1:].ceil().clamp(0, limit).long()


def _largest(values: Tensor, first: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of values (C, L, N) over [first, end) of the last axis: value and place, both (C, L, bins)."""
    place = torch.arange(values.size(-1), device=values.device)
    within = (place >= first[:, None]) & (place < end[:, None])  # (bins, N)
    return values.unsqueeze(2).masked_fill(~within, float("-inf")).max(-1)
