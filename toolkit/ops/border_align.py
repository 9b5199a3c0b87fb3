"""BorderAlign: the largest of the samples along each border of a box.

BorderDet: Border Feature for Dense Object Detection, ECCV 2020, arXiv 2007.11056.

Shapes: input (B, 4C, H, W), channels in the order top, left, bottom, right; boxes (B, K, 4) as x1, y1, x2, y2 in pixels
of the feature map; output and argmax (B, C, K, 4), one per border. The top and left borders are walked from (x1, y1),
the bottom and right ones from (x2, y2), in `pool_size` steps.
"""

import torch
from torch import Tensor

from toolkit.ops.bilinear import bilinear_corners
from toolkit.ops.precision import wide


def border_align_forward(input: Tensor, boxes: Tensor, output: Tensor, argmax_idx: Tensor, pool_size: int) -> None:
    """Fill `output` and the step number of each maximum."""
    batch, channels, height, width = input.shape
    features = wide(input).reshape(batch, 4, channels // 4, height * width)
    start, step = _borders(boxes.to(features), pool_size)
    largest = torch.full_like(wide(output), float("-inf")).permute(0, 3, 1, 2)  # (B, 4, C, K)
    winner = torch.zeros_like(largest, dtype=argmax_idx.dtype)
    for number in range(pool_size + 1):
        x, y = start + number * step  # (B, 4, K)
        index, weight = bilinear_corners(y, x, height, width)
        sample = sum(
            features.gather(3, i[:, :, None].expand(-1, -1, channels // 4, -1)) * w[:, :, None]
            for i, w in zip(index, weight, strict=True)
        )
        better = sample > largest
        largest = torch.where(better, sample, largest)
        winner = winner.masked_fill(better, number)
    output.copy_(largest.permute(0, 2, 3, 1))
    argmax_idx.copy_(winner.permute(0, 2, 3, 1))


def border_align_backward(
    grad_output: Tensor, boxes: Tensor, argmax_idx: Tensor, grad_input: Tensor, pool_size: int
) -> None:
    """Fill `grad_input`: each gradient goes to the four pixels around the winning sample."""
    batch, channels, height, width = grad_input.shape
    grad = wide(grad_output).permute(0, 3, 1, 2)  # (B, 4, C, K)
    start, step = _borders(boxes.to(grad), pool_size)
    x, y = start.unsqueeze(3) + argmax_idx.permute(0, 3, 1, 2) * step.unsqueeze(3)
    index, weight = bilinear_corners(y, x, height, width)  # (4, B, 4, C, K)
    total = grad.new_zeros(batch, 4, channels // 4, height * width)
    for i, w in zip(index, weight, strict=True):
        total.scatter_add_(3, i, grad * w)
    grad_input.copy_(total.view_as(grad_input))


def _borders(boxes: Tensor, pool_size: int) -> tuple[Tensor, Tensor]:
    """Where each border's walk begins and its step, both (2, B, 4, K) with x first."""
    x1, y1, x2, y2 = boxes.unbind(2)
    across, down = (x2 - x1) / pool_size, (y2 - y1) / pool_size
    still = torch.zeros_like(across)
    start = torch.stack([torch.stack([x1, x1, x2, x2], 1), torch.stack([y1, y1, y2, y2], 1)])
    step = torch.stack([torch.stack([across, still, -across, still], 1), torch.stack([still, down, still, -down], 1)])
    return start, step
