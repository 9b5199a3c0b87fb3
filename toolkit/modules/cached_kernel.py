"""Kernels that a layer makes from its parameters, made once in evaluation and not at every call."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class _Entry(NamedTuple):
    key: tuple
    sources: tuple[Tensor, ...]
    stamps: list[tuple[int, int]]
    value: Any


class CachesKernel(nn.Module):
    """Mixin for layers whose kernel depends on nothing but their parameters, buffers and a few plain values.

    `self.cached(make)` calls `make` in training, where a gradient is wanted and while torch.compile or torch.export
    look on. In evaluation it keeps the result until a parameter or buffer is replaced, moved or changed in place, or
    the module's mode is set. Copies and pickles leave it out. What writes past PyTorch's version counters
    (`parameter.data.copy_(...)`, as weight averaging does) must be followed by `eval()` or `train()`, as mmengine does.
    """

    _entry: _Entry | None = None

    def cached(self, make: Callable[[], T], *key: Any) -> T:
        """`make()`, or what it gave before.

        Args:
            make: gives a tensor or a tuple of them.
            key: what else the result depends on.
        """
        if self.training or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return make()
        parameters = tuple(self.parameters())
        if torch.is_grad_enabled() and any(one.requires_grad for one in parameters):
            return make()
        sources = (*parameters, *self.buffers())
        # transforms and sharding put other tensors in the parameters' places; inference tensors have no version
        if any(type(one) is not nn.Parameter for one in parameters) or any(one.is_inference() for one in sources):
            return make()
        device = sources[0].device.type
        has_autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        key = (*key, torch.get_autocast_dtype(device) if has_autocast else None)
        stamps = [(one._version, one.data_ptr()) for one in sources]
        entry = self._entry
        if (
            entry is None
            or entry.key != key
            or entry.stamps != stamps
            or any(one is not other for one, other in zip(entry.sources, sources, strict=True))
        ):
            with torch.inference_mode(False), torch.no_grad():  # a result that may later meet gradients of the input
                entry = self._entry = _Entry(key, sources, stamps, make())
        return entry.value

    def forget(self) -> None:
        """Drop what is kept."""
        self.__dict__.pop("_entry", None)

    def train(self, mode: bool = True) -> Self:
        self.forget()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.forget()
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_entry"}
