"""What all backbones here share: chosen outputs, frozen stages, recomputation in the backward pass.

A backbone is a stem and stages, with one feature map after each stage. A subclass passes the facts of its stages to
`Backbone.__init__`, builds its modules, says in `parts` which of them are the stem and which each stage, and ends its
constructor with `self.freeze()`:

    class Net(Backbone):
        def __init__(self, widths=(32, 64), in_channels=3, out_indices=(0, 1), drop_path_rate=0.0, frozen_stages=-1,
                     with_cp=False, init_cfg=None):
            super().__init__(widths, (4, 8), out_indices, frozen_stages, with_cp, init_cfg)
            self.stem = ...
            self.stages = nn.ModuleList(...)
            self.freeze()

        def forward(self, x):
            x, outs = self.stem(x), []
            for i, stage in enumerate(self.stages[: max(self.out_indices) + 1]):
                x = self.run(stage, x)
                if i in self.out_indices:
                    outs.append(x)
            return tuple(outs)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Backbone(BaseModule):
    """Base of the backbones.

    Attributes:
        out_indices: stages whose maps `forward` gives, in rising order; 0 is the first.
        out_channels, strides: of these maps.
        frozen_stages, with_cp: as below.

    Args:
        channels: channels after each stage.
        strides: pixels of the picture for one step on each stage's map.
        out_indices: which stages to give.
        frozen_stages: keep the stem (0) and this many stages as they are in training, parameters and statistics;
            -1 freezes nothing.
        with_cp: recompute in the backward pass what goes through `run`, which saves memory. Gradients and running
            statistics are those of a single pass.
        init_cfg: as mmengine's.

    Raises:
        ValueError: `out_indices` or `frozen_stages` name stages that are not there.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        out_indices: Sequence[int],
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        name, stages = type(self).__name__, range(len(channels))
        chosen = tuple(out_indices)
        if not chosen or not set(chosen) <= set(stages) or sorted(set(chosen)) != list(chosen):
            raise ValueError(f"{name}: out_indices must rise and be among {', '.join(map(str, stages))}, got {chosen}")
        if frozen_stages not in range(-1, len(channels) + 1):
            raise ValueError(f"{name}: frozen_stages must be -1 to {len(channels)}, got {frozen_stages}")
        self.out_indices, self.frozen_stages, self.with_cp = chosen, frozen_stages, with_cp
        self.out_channels = tuple(channels[i] for i in chosen)
        self.strides = tuple(strides[i] for i in chosen)

    def parts(self) -> list[list[nn.Module | nn.Parameter]]:
        """What `frozen_stages` counts: modules and bare parameters of the stem, then of each stage."""
        return [[self.stem], *([stage] for stage in self.stages)]

    def freeze(self) -> None:
        """Hold the frozen parts still; the last line of a subclass's constructor."""
        for part in chain.from_iterable(self.parts()[: self.frozen_stages + 1]):
            part.requires_grad_(False)
            if isinstance(part, nn.Module):
                part.eval()

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        self.freeze()
        return self

    def run(self, module: Callable, *inputs: Any) -> Any:
        """`module(*inputs)`, recomputed in the backward pass when training with `with_cp`."""
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return module(*inputs)
        if torch.compiler.is_compiling():  # the compiler recomputes without touching statistics
            return checkpoint(module, *inputs, use_reentrant=False)
        return checkpoint(module, *inputs, use_reentrant=False, context_fn=self._recomputation)

    def _recomputation(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _untouched_statistics(self)


@contextmanager
def _untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms in `module` count no batch inside: a recomputed pass would move them a second time."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth that grows evenly from 0 at the first block to `rate` at the last: a list for each stage."""
    last = max(sum(depths) - 1, 1)
    rates = iter([rate * i / last for i in range(sum(depths))])
    return [[next(rates) for _ in range(depth)] for depth in depths]
