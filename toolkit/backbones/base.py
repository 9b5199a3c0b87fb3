"""What all backbones here share: chosen outputs, frozen stages, recomputation in the backward pass.

A backbone is a stem and stages, with one feature map after each stage. A subclass passes the facts of its stages to
`Backbone.__init__`, builds its modules, says in `parts` which of them are the stem and which each stage, ends its
constructor with `self.freeze()`, and gives in `maps` the map of every stage that it has built:

    class Net(Backbone):
        def __init__(self, widths=(32, 64), in_channels=3, out_indices=(0, 1), drop_path_rate=0.0, frozen_stages=-1,
                     with_cp=False, init_cfg=None):
            super().__init__(widths, (4, 8), out_indices, frozen_stages, with_cp, init_cfg)
            self.stem = ...
            self.stages = nn.ModuleList(... for i in range(self.built))
            self.freeze()

        def maps(self, x):
            x, found = self.stem(x), []
            for stage in self.stages:
                x = self.run(stage, x)
                found.append(x)
            return found

With `num_classes` it also has `logits`, from the last map; or it has a `forward` of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Backbone(BaseModule):
    """Base of the backbones.

    Attributes:
        out_indices: stages whose maps `forward` gives, in rising order; 0 is the first.
        out_channels, strides: of these maps.
        built: how many stages `forward` needs: all for a classifier, else none after the last of `out_indices`.
        num_classes, frozen_stages, with_cp: as below.

    Args:
        channels: channels after each stage.
        strides: pixels of the picture for one step on each stage's map.
        out_indices: which stages to give.
        frozen_stages: keep the stem (0) and this many stages as they are in training, parameters and statistics;
            -1 freezes nothing.
        with_cp: recompute in the backward pass what goes through `run`, which saves memory. Gradients and running
            statistics are those of a single pass.
        init_cfg: as mmengine's.
        num_classes: logits of a classifier instead of maps; None for maps.

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
        num_classes: int | None = None,
    ):
        super().__init__(init_cfg)
        name, stages = type(self).__name__, range(len(channels))
        chosen = tuple(out_indices)
        if not chosen or not set(chosen) <= set(stages) or sorted(set(chosen)) != list(chosen):
            raise ValueError(f"{name}: out_indices must rise and be among {', '.join(map(str, stages))}, got {chosen}")
        if frozen_stages not in range(-1, len(channels) + 1):
            raise ValueError(f"{name}: frozen_stages must be -1 to {len(channels)}, got {frozen_stages}")
        self.out_indices, self.frozen_stages, self.with_cp = chosen, frozen_stages, with_cp
        self.num_classes = num_classes
        self.built = chosen[-1] + 1 if num_classes is None else len(channels)
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

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """(B, in_channels, H, W) -> maps (B, C_i, H / s_i, W / s_i), or logits (B, num_classes)."""
        maps = self.maps(x)
        return tuple(maps[i] for i in self.out_indices) if self.num_classes is None else self.logits(maps[-1])

    def run(self, module: Callable, *inputs: Any) -> Any:
        """`module(*inputs)`, recomputed in the backward pass when training with `with_cp`."""
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return module(*inputs)
        if torch.compiler.is_compiling():  # the compiler recomputes without touching statistics
            return checkpoint(module, *inputs, use_reentrant=False)
        return checkpoint(module, *inputs, use_reentrant=False, context_fn=self._recomputation)

    def run_each(self, modules: Iterable[Callable], x: Tensor, *others: Any) -> Tensor:
        """`x` through `modules` one after the other, each by `run`; `others` go to all of them."""
        for module in modules:
            x = self.run(module, x, *others)
        return x

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


def arch_facts(name: str, archs: Mapping[str, dict], arch: str | dict) -> dict:
    """What a backbone is built from: `arch` if it is a dict, else the published one of that name.

    Raises:
        ValueError: `archs` has no such name; the message begins with the backbone's `name`.
    """
    if isinstance(arch, dict):
        return arch
    if arch not in archs:
        raise ValueError(f"{name}: arch must be among {', '.join(archs)} or a dict, got {arch!r}")
    return archs[arch]


def start_linear(net: nn.Module) -> None:
    """Start all linear layers of `net` as transformers do: truncated normal weights of deviation 0.02, biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth that grows evenly from 0 at the first block to `rate` at the last: a list for each stage."""
    last = max(sum(depths) - 1, 1)
    rates = iter([rate * i / last for i in range(sum(depths))])
    return [[next(rates) for _ in range(depth)] for depth in depths]
