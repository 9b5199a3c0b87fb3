"""Lookahead around any optimizer of PyTorch, for configs.

Lookahead Optimizer: k steps forward, 1 step back, NeurIPS 2019, arXiv 1907.08610.

    every k steps: slow = slow + alpha (fast - slow),   fast = slow
"""

from collections.abc import Iterable
from typing import Any

import timm.optim
import torch
from mmengine.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class Lookahead(timm.optim.Lookahead):
    """timm's Lookahead, made in one piece: `dict(type="Lookahead", base="Adam", lr=5e-4, weight_decay=1e-4)`.

    The slow weights begin as what the fast ones are after the first k steps.

    Args:
        params: as any optimizer's.
        base: registered name of the optimizer that takes the steps.
        alpha: share of the way that the slow weights go.
        k: steps between.
        options: of the base optimizer.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict],
        base: str = "Adam",
        alpha: float = 0.5,
        k: int = 6,
        **options: Any,
    ):
        super().__init__(OPTIMIZERS.build(dict(type=base, params=params, **options)), alpha, k)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the base optimizer's parameters."""
        self._base_optimizer.zero_grad(set_to_none)
