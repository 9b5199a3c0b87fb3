"""Sigmoid focal loss and its gradient.

Focal Loss for Dense Object Detection, ICCV 2017, arXiv 1708.02002. With p = sigmoid(x):

    loss = -alpha (1 - p)^gamma log(p)            where the class is the target
           -(1 - alpha) p^gamma log(1 - p)        elsewhere

Shapes: input (N, C) logits; target (N,) classes in [0, C], where C is background; weight (C,) of the target classes, or
empty.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.ops.precision import wide


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` (N, C) with the loss of each logit."""
    x = wide(input)
    p, q = x.sigmoid(), (-x).sigmoid()
    hit = -alpha * q**gamma * F.logsigmoid(x)
    miss = -(1 - alpha) * p**gamma * F.logsigmoid(-x)
    output.copy_(_choose(hit, miss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` (N, C) with the derivative of each loss by its logit."""
    x = wide(input)
    p, q = x.sigmoid(), (-x).sigmoid()
    hit = -alpha * q**gamma * (q - gamma * p * F.logsigmoid(x))
    miss = -(1 - alpha) * p**gamma * (gamma * q * F.logsigmoid(-x) - p)
    grad_input.copy_(_choose(hit, miss, target, weight))


def _choose(hit: Tensor, miss: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    classes = torch.arange(hit.size(1), device=hit.device)
    value = torch.where(target[:, None] == classes, hit, miss)
    if weight.numel():
        value = value * F.pad(wide(weight), (0, 1), value=1.0)[target][:, None]
    return value
