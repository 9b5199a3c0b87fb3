"""The attention masks of PSANet, from positions relative to a pixel to positions in the feature map.

PSANet: Point-wise Spatial Attention Network for Scene Parsing, ECCV 2018.

With the mask centred on pixel (h, w), entry (i, j) stands for pixel (h + i - half_h, w + j - half_w), if there is one:

    collect:     output[that pixel, h, w] = input[i * w_mask + j, h, w]
    distribute:  output[h * W + w, that pixel] = input[i * w_mask + j, h, w]

Shapes: input (B, h_mask * w_mask, H, W), output (B, H * W, H, W).
"""

import torch
from torch import Tensor

COLLECT, DISTRIBUTE = range(2)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `output`; pixels that the mask does not reach get 0."""
    y, x = (torch.arange(size, device=input.device) for size in (h_feature, w_feature))
    rows, columns = y[:, None] - y + half_h_mask, x[:, None] - x + half_w_mask
    collected = _look_up(input, rows, columns, h_mask, w_mask)
    output.copy_(_swap(collected) if psa_type == DISTRIBUTE else collected)


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `grad_input`: each mask entry has at most one place in the output."""
    sizes = (h_feature, w_feature, h_mask, w_mask)
    y, x, i, j = (torch.arange(size, device=grad_output.device) for size in sizes)
    rows, columns = i[:, None] + y - half_h_mask, j[:, None] + x - half_w_mask
    collected = _swap(grad_output) if psa_type == DISTRIBUTE else grad_output
    grad_input.copy_(_look_up(collected, rows, columns, h_feature, w_feature))


def _look_up(source: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Entry (row, column) of `source` for every pixel, 0 where there is none.

    Args:
        source: (B, height * width, H, W).
        rows, columns: (M, H) and (N, W).

    Returns:
        (B, M * N, H, W), where [:, m * N + n, h, w] is source[:, rows[m, h] * width + columns[n, w], h, w].
    """
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None]
    index = rows.clamp(0, height - 1)[:, None, :, None] * width + columns.clamp(0, width - 1)[:, None]
    index = index.flatten(0, 1).expand(source.size(0), -1, -1, -1)
    return source.gather(1, index) * inside.flatten(0, 1)


def _swap(x: Tensor) -> Tensor:
    """(B, H * W, H, W) with the two pixels exchanged."""
    return x.flatten(2).transpose(1, 2).reshape(x.shape)
