"""Deformable convolution of several maps: against torchvision's operator and against plain convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from toolkit.ops.deform_levels import deform_conv_levels

SIZES = ((9, 7), (5, 4), (1, 1))


def maps(stride: int, padding: int, spread: float, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and offsets of `spread` pixels, for 3 x 3 kernels."""
    torch.manual_seed(0)
    sizes = [size for size in SIZES if min(size) + 2 * padding >= 3]
    inputs = [torch.randn(2, 8, *size, dtype=dtype) for size in sizes]
    shapes = [[(side + 2 * padding - 3) // stride + 1 for side in size] for size in sizes]
    return inputs, [spread * torch.randn(2, 18, *shape, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (1, 0)])
def test_values_and_gradients_are_torchvision_s(stride: int, padding: int) -> None:
    inputs, offsets = maps(stride, padding, 3, torch.float64)
    weight, bias = torch.randn(5, 8, 3, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (*inputs, *offsets, weight, bias)]
    ours = deform_conv_levels(inputs, offsets, weight, bias, stride, padding)
    theirs = [
        deform_conv2d(x, offset, weight, bias, stride, padding) for x, offset in zip(inputs, offsets, strict=True)
    ]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    pull = [torch.randn_like(y) for y in theirs]
    gradients = [
        torch.autograd.grad(sum((y * w).sum() for y, w in zip(side, pull, strict=True)), leaves)
        for side in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_without_offsets_it_is_a_convolution_and_whole_offsets_shift_it() -> None:
    inputs, offsets = maps(1, 1, 0, torch.float64)
    weight = torch.randn(5, 8, 3, 3, dtype=torch.float64)
    plain = [F.conv2d(x, weight, padding=1) for x in inputs]
    torch.testing.assert_close(deform_conv_levels(inputs, offsets, weight, None, 1, 1), plain)
    offsets[0][:, 0::2] += 2  # y
    offsets[0][:, 1::2] -= 1  # x
    shifted = deform_conv_levels(inputs, offsets, weight, None, 1, 1)[0]
    wide = F.conv2d(F.pad(inputs[0], [4] * 4), weight, padding=1)  # so that no border is in the way
    torch.testing.assert_close(shifted, wide[..., 6:15, 3:10])


def test_a_sample_fades_over_the_border() -> None:
    x, weight = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1)
    for place, value in ((-0.25, 0.75), (-1.0, 0.0), (-7.0, 0.0), (2.5, 0.0), (1.5, 0.5)):
        offset = torch.zeros(1, 2, 2, 2)
        offset[0, 0, 0, 0] = place  # the first cell's y
        assert deform_conv_levels([x], [offset], weight, None, 1, 0)[0][0, 0, 0, 0] == value


def test_no_maps_no_pictures_and_half_precision() -> None:
    inputs, offsets = maps(1, 1, 1, torch.float32)
    weight = torch.randn(5, 8, 3, 3)
    assert deform_conv_levels([], [], weight, None, 1, 1) == []
    empty = deform_conv_levels([x[:0] for x in inputs], [x[:0] for x in offsets], weight, None, 1, 1)
    assert [y.shape for y in empty] == [(0, 5, *size) for size in SIZES]
    full = deform_conv_levels(inputs, offsets, weight, None, 1, 1)
    half = deform_conv_levels([x.bfloat16() for x in inputs], offsets, weight, None, 1, 1)
    for one, other in zip(half, full, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.1, rtol=0)
