"""Layers of inference whose weights oneDNN reads in an order of its own, brought into it once."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# name: what follows a linear layer, and oneDNN's words for it
ACTIVATIONS = {
    "none": (lambda x: x, ("none", [], "")),
    "relu": (F.relu, ("relu", [], "")),
    "gelu": (F.gelu, ("gelu", [], "none")),
    "silu": (F.silu, ("swish", [], "")),
}


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN's own operators, which know of no gradients, may be called: on a CPU, in float32."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch.backends.mkldnn.is_available()
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, y: Tensor) -> Tensor:
    """(B, M, K) @ (B, K, N); that of one item on a CPU by oneDNN."""
    if len(x) > 1 or not has_onednn(x, y):
        return x @ y
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), y[0].T, None, *ACTIVATIONS["none"][1])


class PacksWeight(nn.Module):
    """A weight and a bias that are trained no more, and the weight in oneDNN's order.

    Copies, pickles and state dicts leave the order out; moving or loading the weight drops it.

    Args:
        weight, bias: of the layer that this one stands for.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self._packed: tuple[Any, Tensor] | None = None

    def packed(self, size: Any, pack: Callable[[Tensor], Tensor]) -> Tensor:
        """`pack(weight)`, kept until the weight changes or the input has another `size`, for which it would be slow."""
        version = None if self.weight.is_inference() else self.weight._version
        if self._packed is None or self._packed[0] != (size, version):
            self._packed = (size, version), pack(self.weight.detach())
        return self._packed[1]

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._packed = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*args)

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_packed=None)


class PackedLinear(PacksWeight):
    """A linear layer and perhaps an activation, for inference: (..., C) -> (..., C').

    On a CPU, in float32, it is one call of oneDNN. Elsewhere (GPU, autocast, gradients, compilation, export) it is made
    of plain operators.

    Args:
        weight: (C', C).
        bias: (C',) or None.
        activation: one of `ACTIVATIONS`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none"):
        super().__init__(weight, bias)
        self.out_features, self.in_features = weight.shape
        self.activation = activation

    @classmethod
    def of(cls, linear: nn.Linear, activation: str = "none") -> Self:
        """The layer in this form."""
        return cls(linear.weight, linear.bias, activation)

    def forward(self, x: Tensor) -> Tensor:
        plain, fused = ACTIVATIONS[self.activation]
        if not has_onednn(x, self.weight):
            return plain(F.linear(x, self.weight, self.bias))
        weight = self.packed(None, torch.ops.mkldnn._reorder_linear_weight)
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, self.bias, *fused)
