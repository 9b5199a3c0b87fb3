"""CARAFE: upsampling in which every output pixel has its own kernel.

CARAFE: Content-Aware ReAssembly of FEatures, ICCV 2019, arXiv 1905.02188.

    output[c, y, x] = sum over i, j of features[c, y // s + i - k // 2, x // s + j - k // 2] * masks[g, i, j, y, x]

Shapes: features (B, C, H, W), masks (B, group_size * k * k, sH, sW), output (B, C, sH, sW). Group g holds the g-th
C / group_size channels. The k * k terms are added one after the other, so that no tensor is larger than the output.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.ops.precision import wide


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Fill `output`."""
    padded = _pad(wide(features), group_size, kernel_size)
    weights = _cells(wide(masks), group_size, scale_factor)  # (B, g, k * k, H, s, W, s)
    total = padded.new_zeros(_cells(output, group_size, scale_factor).shape)
    for tap, shifted in enumerate(_shifts(padded, kernel_size)):
        total.addcmul_(shifted, weights[:, :, tap, None])
    output.copy_(total.view_as(output))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill `grad_input` and `grad_masks`."""
    grad = _cells(wide(grad_output), group_size, scale_factor)  # (B, g, C/g, H, s, W, s)
    padded = _pad(wide(features), group_size, kernel_size)
    weights = _cells(wide(masks), group_size, scale_factor)
    of_padded, of_weights = torch.zeros_like(padded), torch.zeros_like(weights)
    places = _shifts(of_padded, kernel_size)
    for tap, (shifted, place) in enumerate(zip(_shifts(padded, kernel_size), places, strict=True)):
        of_weights[:, :, tap] = (grad * shifted).sum(2)
        place.add_((grad * weights[:, :, tap, None]).sum((4, 6), keepdim=True))
    border = kernel_size // 2
    height, width = features.shape[2:]
    grad_input.copy_(of_padded[..., border : border + height, border : border + width].reshape(features.shape))
    grad_masks.copy_(of_weights.reshape(masks.shape))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill `output`, and `rfeatures` with the features, which mmcv hands to `carafe_backward`."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill `grad_input` and `grad_masks`; the other buffers are not needed."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, kernel_size, group_size, scale_factor)


def _cells(x: Tensor, groups: int, scale: int) -> Tensor:
    """(B, C, sH, sW) -> (B, g, C/g, H, s, W, s): the scale x scale output pixels of each input pixel."""
    return x.unflatten(1, (groups, -1)).unflatten(4, (-1, scale)).unflatten(3, (-1, scale))


def _pad(features: Tensor, groups: int, kernel_size: int) -> Tensor:
    """(B, C, H, W) -> (B, g, C/g, H + k - 1, W + k - 1)."""
    return F.pad(features.unflatten(1, (groups, -1)), [kernel_size // 2] * 4)


def _shifts(padded: Tensor, kernel_size: int) -> Iterator[Tensor]:
    """Views (B, g, C/g, H, 1, W, 1) of (B, g, C/g, H + k - 1, W + k - 1), one for each tap."""
    height, width = (side - kernel_size + 1 for side in padded.shape[3:])
    for i in range(kernel_size):
        for j in range(kernel_size):
            yield padded[..., i : i + height, j : j + width].unsqueeze(4).unsqueeze(6)
