"""Deformable convolution of several maps with one weight, the levels of a pyramid say.

Deformable Convolutional Networks, ICCV 2017, arXiv 1703.06211.

    y(p) = sum over taps k of w_k x(p + p_k + offset_k(p)) + bias

On a CPU torchvision's operator finds the four pixels around a sample and their weights anew for each channel, and
walks through memory channel by channel. Here they are found once, and a pixel's channels are read in one piece: an
embedding bag over the pixels of all maps gives the samples, laid out as a picture of k x k pixels a cell, which the
kernel crosses in steps of k. Measured with one thread, 256 channels and levels from 50 x 68 cells down: 0.30 of
torchvision's time, with gradients 0.25. On a CUDA device this is torchvision's operator, map by map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from toolkit.ops.precision import wide

SAMPLES_AT_ONCE = 2**22  # values: 16 MiB, which the allocator keeps and does not fetch from the system anew


def deform_conv_levels(
    inputs: Sequence[Tensor], offsets: Sequence[Tensor], weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> list[Tensor]:
    """Convolve each input at the places that its offsets give; a sample outside its map counts as zero.

    Half precision is sampled in float32, and where nothing casts (autocast does) convolved in it.

    Args:
        inputs: maps (B, C, H, W) of any sizes.
        offsets: for each input (B, 2 * k * k, H', W'), pairs (y, x) in pixels, taps row by row.
        weight: (O, C, k, k).
        bias: (O,) or None.
        stride, padding: of all sides.

    Returns:
        For each input (B, O, H', W'), in the type of its offsets.
    """
    if not inputs:
        return []
    dtype, empty = offsets[0].dtype, inputs[0].shape[0] == 0
    inputs, offsets, weight = list(map(wide, inputs)), list(map(wide, offsets)), wide(weight)
    bias = None if bias is None else wide(bias)
    if inputs[0].is_cuda or empty:
        maps = [
            torchvision.ops.deform_conv2d(x, offset, weight, bias, stride, padding)
            for x, offset in zip(inputs, offsets, strict=True)
        ]
    else:
        maps = _by_gathering(inputs, offsets, weight, bias, stride, padding)
    return [each.to(dtype) for each in maps]


def _by_gathering(
    inputs: list[Tensor], offsets: list[Tensor], weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> list[Tensor]:
    kernel = weight.shape[2]
    pixels = torch.cat([x.permute(0, 2, 3, 1).flatten(0, 2) for x in inputs])  # (all pixels, C)
    corners, first = [], 0
    for x, offset in zip(inputs, offsets, strict=True):
        corners.append(_corners(_places(offset, kernel, stride, padding), x.shape[2:], first))
        first += x.shape[0] * x.shape[2] * x.shape[3]
    index, share = (torch.cat(parts, 1) for parts in zip(*corners, strict=True))  # (k, cells, k, 4)
    chunk = max(SAMPLES_AT_ONCE // (kernel * kernel * pixels.shape[1]), 1)
    parts = []
    for some, shares in zip(index.split(chunk, 1), share.split(chunk, 1), strict=True):
        samples = F.embedding_bag(
            some.reshape(-1, 4), pixels, mode="sum", per_sample_weights=shares.reshape(-1, 4).to(pixels)
        )
        picture = samples.view(1, kernel, -1, pixels.shape[1]).permute(0, 3, 1, 2)  # (1, C, k, cells * k)
        parts.append(F.conv2d(picture, weight, bias, stride=kernel)[0, :, 0])  # (O, cells)
    cells = torch.cat(parts, 1).t()
    sizes = [offset.shape[0] * offset.shape[2] * offset.shape[3] for offset in offsets]
    return [
        part.view(offset.shape[0], *offset.shape[2:], -1).permute(0, 3, 1, 2)
        for part, offset in zip(cells.split(sizes), offsets, strict=True)
    ]


def _places(offset: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Where each tap of each output cell samples, (k, B, H', W', k, 2) as (y, x) in pixels, the tap's row first."""
    height, width = offset.shape[2:]
    rows, columns, taps = (
        torch.arange(count, device=offset.device, dtype=offset.dtype) for count in (height, width, kernel)
    )
    y = (rows * stride - padding)[:, None, None] + taps[:, None, None, None, None]  # (k, 1, H', 1, 1)
    x = (columns * stride - padding)[:, None] + taps  # (W', k)
    grid = torch.stack(torch.broadcast_tensors(y, x), -1)  # (k, 1, H', W', k, 2)
    return offset.unflatten(1, (kernel, kernel, 2)).permute(1, 0, 4, 5, 2, 3) + grid


def _corners(places: Tensor, size: Sequence[int], first: int) -> tuple[Tensor, Tensor]:
    """The four pixels around each place and their shares, both (k, cells, k, 4); pixels are counted from `first`.

    A corner outside the map has no share.
    """
    height, width = size
    low = places.detach().floor()
    (top, left), (dy, dx) = low.long().unbind(-1), (places - low).unbind(-1)
    y = torch.stack([top, top, top + 1, top + 1], -1)  # (k, B, H', W', k, 4)
    x = torch.stack([left, left + 1, left, left + 1], -1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    share = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], -1).masked_fill(~inside, 0)
    picture = torch.arange(places.shape[1], device=places.device)[:, None, None, None, None]
    index = first + (picture * height + y.clamp(0, height - 1)) * width + x.clamp(0, width - 1)
    return index.flatten(1, 3), share.flatten(1, 3)
