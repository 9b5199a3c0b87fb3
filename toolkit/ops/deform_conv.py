"""Deformable convolution through torchvision.

Deformable Convolutional Networks, ICCV 2017, arXiv 1703.06211; version 2 with a mask: CVPR 2019, arXiv 1811.11168.

Shapes: input (B, C, H, W), weight (O, C / group, kH, kW), offset (B, deformable_group * kH * kW * 2, H', W') as (y, x)
pairs in pixels, mask (B, deformable_group * kH * kW, H', W'). Outputs and gradients are written into the tensors given.

mmcv's operator with a mask does not look at the size of the maps of offset and mask: it reads as many values of each
sample as the output needs, in memory order. DyHead lends a finer level's offsets to a coarser level in this way, and
its checkpoints depend on it, so this does the same.
"""

import torch
import torchvision
from torch import Tensor

from toolkit.ops.precision import wide


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `output`; `columns`, `ones` and `im2col_step` steer a work space that torchvision does not need."""
    result = torchvision.ops.deform_conv2d(
        wide(input), wide(offset), wide(weight), None, (dH, dW), (padH, padW), (dilationH, dilationW)
    )
    output.copy_(result)


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `grad_input` and `grad_offset`.

    torchvision computes all gradients at once, so that of the weight waits on the `columns` buffer, which mmcv hands to
    `deform_conv_backward_parameters` next.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    of_input, of_weight, of_offset, _, _ = _backward(grad_output, input, weight, offset, None, None, geometry)
    grad_input.copy_(of_input)
    grad_offset.copy_(of_offset)
    columns.waiting = (grad_output, of_weight)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add `scale` times the gradient of the weight to `grad_weight`."""
    belongs_to, of_weight = getattr(columns, "waiting", (None, None))
    columns.waiting = (None, None)
    if belongs_to is not grad_output:
        geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        of_weight = _backward(grad_output, input, torch.zeros_like(grad_weight), offset, None, None, geometry)[1]
    grad_weight.add_(of_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill `output`; `ones` and `columns` are a work space that torchvision does not need."""
    result = torchvision.ops.deform_conv2d(
        wide(input),
        _first_values(wide(offset), output),
        wide(weight),
        wide(bias) if with_bias else None,
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        _first_values(wide(mask), output),
    )
    output.copy_(result)


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the five gradients, that of the bias only `with_bias`."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    used = _first_values(offset, grad_output), _first_values(mask, grad_output)
    of_input, of_weight, of_offset, of_mask, of_bias = _backward(
        grad_output, input, weight, *used, bias if with_bias else None, geometry
    )
    grad_input.copy_(of_input)
    grad_weight.copy_(of_weight)
    _fill_first_values(grad_offset, of_offset)
    _fill_first_values(grad_mask, of_mask)
    if with_bias:
        grad_bias.copy_(of_bias)


def _first_values(maps: Tensor, output: Tensor) -> Tensor:
    """Maps (B, M, h, w) of the size of `output`, read in memory order from maps that may be larger."""
    size = output.shape[2:]
    if maps.shape[2:] == size or maps.shape[2:].numel() < size.numel():  # torchvision refuses the latter and says why
        return maps
    channels = maps.size(1)
    return maps.flatten(1)[:, : channels * size.numel()].reshape(-1, channels, *size)


def _fill_first_values(grad: Tensor, values: Tensor) -> None:
    """Write `values` to where `_first_values` took them from, zeros to the rest."""
    whole = values.new_zeros(grad.size(0), grad[0].numel())
    whole[:, : values[0].numel()] = values.flatten(1)
    grad.copy_(whole.view(grad.shape))


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, offset, mask and bias; `geometry` is stride, padding, dilation, groups."""
    x = wide(input)
    mask_or_none = x.new_zeros(x.size(0), 1) if mask is None else wide(mask)
    bias_or_zero = x.new_zeros(weight.size(0)) if bias is None else wide(bias)
    return torch.ops.torchvision._deform_conv2d_backward(
        wide(grad_output), x, wide(weight), wide(offset), mask_or_none, bias_or_zero, *geometry, mask is not None
    )
