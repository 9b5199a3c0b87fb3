"""Orthogonality of convolutions: distances to it, and a hook that adds them to the loss.

Orthogonal Convolutional Neural Networks, CVPR 2020, arXiv 1911.12207; Existence, Stability and Scalability of
Orthogonal Convolutional Neural Networks, JMLR 2022, arXiv 2108.05623.

    filters:  || conv(K, K, stride S, padding P) - I at the centre ||        P = floor((k - 1) / S) S
    inputs:   || conv^T(conv(delta, K, S), K, S) - delta ||
    1x1:      || M^T M - I ||, on the shorter side of the matrix M

Norms are Frobenius norms, not squared. The filters' distance is that of the rows of the convolution's matrix, and can
vanish where out_channels <= in_channels * S^2; with more filters than that at least out_channels - in_channels * S^2
stays of its square. The published scripts leave the padding at 1: with a 3x3 kernel and stride 2 an orthogonal kernel
then costs 2 and another one is learned.
"""

import re
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.errors import UserError


def filter_orthogonality(kernel: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    """Distance of filters and their shifts by multiples of the stride from an orthonormal set.

    Args:
        kernel: (out, in, k, l).
        stride: of the convolution.
        padding: shifts that count, in pixels; None for all at which filters overlap. The published value is 1.

    Returns:
        A scalar, 0 for an orthogonal convolution.
    """
    reach = [(side - 1) // stride * stride if padding is None else padding for side in kernel.shape[2:]]
    overlaps = F.conv2d(kernel, kernel, stride=stride, padding=reach)
    identity = torch.zeros_like(overlaps)
    identity[..., overlaps.shape[2] // 2, overlaps.shape[3] // 2] = torch.eye(len(kernel)).to(overlaps)
    return torch.linalg.vector_norm(overlaps - identity)


def input_orthogonality(kernel: Tensor, stride: int = 1) -> Tensor:
    """Distance of what single pixels become from an orthonormal set: the columns of the convolution's matrix.

    Args:
        kernel: (out, in, k, k).
        stride: of the convolution.

    Returns:
        A scalar.
    """
    channels, side = kernel.shape[1], stride * (kernel.shape[-1] - 1) + kernel.shape[-1]
    delta = kernel.new_zeros(channels, channels, side, side)
    delta[:, :, side // 2, side // 2] = torch.eye(channels).to(kernel)
    return torch.linalg.vector_norm(
        F.conv_transpose2d(F.conv2d(delta, kernel, stride=stride), kernel, stride=stride) - delta
    )


def matrix_orthogonality(kernel: Tensor) -> Tensor:
    """Distance of the filters as vectors, or of their columns if these are fewer, from an orthonormal set.

    Args:
        kernel: (out, ...).

    Returns:
        A scalar.
    """
    matrix = kernel.flatten(1)
    matrix = matrix.T if matrix.shape[0] < matrix.shape[1] else matrix
    return torch.linalg.vector_norm(matrix.T @ matrix - torch.eye(matrix.shape[1]).to(matrix))


@HOOKS.register_module()
class OrthogonalityHook(Hook):
    """Adds `loss_orthogonality` to the losses of a model: `weight` times the sum over chosen convolutions.

    The matrix's distance for 1x1 kernels, the filters' for all others. Grouped convolutions are left out.

    Args:
        layers: regular expression, searched for in the names of modules. The default takes all but the stem of a
            ResNet; the authors take the first convolution of each block and the downsampling of ResNet-34.
        weight: published 0.1, and 0.5 in the authors' example.
        padding: as of `filter_orthogonality`.

    Raises:
        UserError: no convolution has such a name.
    """

    def __init__(self, layers: str = r"\blayer\d+\.", weight: float = 0.1, padding: int | None = None):
        self.layers, self.weight, self.padding = layers, weight, padding

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, "module", runner.model)
        convs = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        chosen = [conv for name, conv in convs.items() if re.search(self.layers, name) and conv.groups == 1]
        if not chosen:
            some = ", ".join(list(convs)[:5]) or "none"
            raise UserError(f"OrthogonalityHook: layers={self.layers!r} names no convolution; there are {some} ...")

        def add(_: nn.Module, args: tuple, kwargs: dict[str, Any], losses: Any) -> Any:
            if kwargs.get("mode") != "loss":
                return losses
            return losses | dict(loss_orthogonality=self.weight * sum(map(self.distance, chosen)))

        self.handle = model.register_forward_hook(add, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        self.handle.remove()

    def distance(self, conv: nn.Conv2d) -> Tensor:
        if max(conv.kernel_size) == 1:
            return matrix_orthogonality(conv.weight)
        return filter_orthogonality(conv.weight, max(conv.stride), self.padding)
