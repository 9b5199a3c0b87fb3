"""Deformable convolution against one grid sample for each tap of the kernel."""

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

SETTINGS = [  # stride, padding, dilation, groups, deformable groups
    (1, 1, 1, 1, 1),
    (2, 1, 1, 2, 1),
    ((1, 2), (2, 1), (2, 1), 1, 2),
    (1, 1, 1, 2, 2),
]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def tensors(stride, padding, dilation, groups, deform_groups):
    """Input, offset, mask, weight and bias in float64 with a 3 x 2 kernel."""
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((5, 6), (3, 2), pair(stride), pair(padding), pair(dilation), strict=True)
    ]
    x = torch.randn(2, 4, 5, 6)
    offset = 1.5 * torch.randn(2, deform_groups * 12, *size)
    mask = torch.rand(2, deform_groups * 6, *size)
    made = x, offset, mask, torch.randn(6, 4 // groups, 3, 2), torch.randn(6)
    return [t.double().requires_grad_() for t in made]


def reference(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, setting) -> Tensor:
    stride, padding, dilation, groups, deform_groups = setting
    (batch, channels, height, width), (rows, columns) = x.shape, offset.shape[2:]
    offset = offset.view(batch, deform_groups, 6, 2, rows, columns)
    mask = mask.view(batch, deform_groups, 6, rows, columns)
    output = 0
    for tap in range(6):
        i, j = divmod(tap, 2)
        y = torch.arange(rows)[:, None] * pair(stride)[0] - pair(padding)[0] + i * pair(dilation)[0]
        z = torch.arange(columns) * pair(stride)[1] - pair(padding)[1] + j * pair(dilation)[1]
        y, z = y + offset[:, :, tap, 0], z + offset[:, :, tap, 1]
        grid = torch.stack([2 * z / (width - 1) - 1, 2 * y / (height - 1) - 1], -1).flatten(0, 1)
        parts = x.view(batch * deform_groups, -1, height, width)
        values = F.grid_sample(parts, grid, align_corners=True).view(batch, deform_groups, -1, rows, columns)
        values = (values * mask[:, :, None, tap]).view(batch, channels, rows, columns)
        output = output + F.conv2d(values, weight[:, :, i, j, None, None], groups=groups)
    return output


@pytest.mark.parametrize("setting", SETTINGS)
def test_deform_conv_equals_its_definition(setting):
    x, offset, mask, weight, _ = tensors(*setting)
    output = mmcv.ops.deform_conv2d(x, offset, weight, *setting)
    torch.testing.assert_close(output, reference(x, offset, torch.ones_like(mask), weight, setting))


@pytest.mark.parametrize("setting", SETTINGS)
def test_deform_conv_gradient(setting):
    x, offset, _, weight, _ = tensors(*setting)
    assert torch.autograd.gradcheck(
        lambda *a: mmcv.ops.deform_conv2d(*a, *setting), (x, offset, weight), fast_mode=True
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_modulated_deform_conv_equals_its_definition(setting):
    x, offset, mask, weight, bias = tensors(*setting)
    output = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *setting)
    expected = reference(x, offset, mask, weight, setting)
    torch.testing.assert_close(output, expected + bias[:, None, None])
    output = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, None, *setting)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_modulated_deform_conv_gradient(setting):
    inputs = tensors(*setting)
    assert torch.autograd.gradcheck(lambda *a: mmcv.ops.modulated_deform_conv2d(*a, *setting), inputs, fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda *a: mmcv.ops.modulated_deform_conv2d(*a, None, *setting), inputs[:4], fast_mode=True
    )


def lend(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Maps of 8 x 8 for an output of 4 x 4: each sample's values are read as they lie in memory."""
    return mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)


def test_maps_larger_than_the_output_are_read_in_memory_order():
    x, weight = torch.randn(2, 4, 4, 4).double(), torch.randn(3, 4, 3, 3).double()
    offset, mask = torch.randn(2, 18, 8, 8).double(), torch.rand(2, 9, 8, 8).double()
    read = [torch.stack([m.flatten()[: c * 16].view(c, 4, 4) for m in maps]) for maps, c in ((offset, 18), (mask, 9))]
    assert torch.equal(lend(x, offset, mask, weight), lend(x, *read, weight))
    inputs = [t.requires_grad_() for t in (x, offset, mask, weight)]
    assert torch.autograd.gradcheck(lend, inputs, fast_mode=True)


def test_maps_smaller_than_the_output_are_refused():
    x, weight = torch.randn(2, 4, 8, 8), torch.randn(3, 4, 3, 3)
    with pytest.raises(RuntimeError, match="offset output dims"):
        lend(x, torch.randn(2, 18, 4, 4), torch.rand(2, 9, 4, 4), weight)


def test_weight_gradient_belongs_to_its_own_backward_pass():
    """Two passes through one graph, the second for the weight alone, with another output gradient."""
    x, offset, _, weight, _ = tensors(*SETTINGS[0])
    output = mmcv.ops.deform_conv2d(x, offset, weight, *SETTINGS[0])
    torch.autograd.grad(output, x, torch.ones_like(output), retain_graph=True)
    (first,) = torch.autograd.grad(output, weight, torch.ones_like(output), retain_graph=True)
    (second,) = torch.autograd.grad(output, weight, 3 * torch.ones_like(output))
    torch.testing.assert_close(second, 3 * first)


def test_frozen_input_still_gives_a_weight_gradient():
    x, offset, _, weight, _ = tensors(*SETTINGS[0])
    mmcv.ops.deform_conv2d(x.detach(), offset.detach(), weight, *SETTINGS[0]).sum().backward()
    frozen = weight.grad.clone()
    weight.grad = None
    mmcv.ops.deform_conv2d(x, offset, weight, *SETTINGS[0]).sum().backward()
    torch.testing.assert_close(frozen, weight.grad)


@pytest.mark.parametrize("pack", [mmcv.ops.DeformConv2dPack, mmcv.ops.ModulatedDeformConv2dPack])
def test_zero_offsets_are_a_convolution_also_under_autocast(pack):
    layer = pack(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 8, 8)
    strength = 0.5 if pack is mmcv.ops.ModulatedDeformConv2dPack else 1  # the mask starts at sigmoid(0)
    expected = F.conv2d(x, strength * layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    torch.testing.assert_close(output.float(), expected, atol=0.05, rtol=0.05)
    output.float().square().sum().backward()
    assert layer.weight.grad.isfinite().all()
    assert layer.conv_offset.weight.grad.abs().sum() > 0
