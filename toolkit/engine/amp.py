"""Mixed precision in bfloat16, on CPUs as on GPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


def bfloat16_is_fast() -> bool:
    """Whether the device in use has instructions for bfloat16; a CPU without them emulates it slowly."""
    if get_device() != "cpu":
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """An `OptimWrapper` whose forward pass runs under bfloat16 autocast.

    bfloat16 has the exponent range of float32, so no loss scaling is needed; weights and optimizer state stay float32.
    mmengine's `AmpOptimWrapper` refuses CPUs.

    Args:
        only_where_fast: stay in float32 on a device without bfloat16 instructions.
    """

    def __init__(self, *args: Any, only_where_fast: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.enabled = not only_where_fast or bfloat16_is_fast()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = get_device().split(":")[0]
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16, enabled=self.enabled):
            yield
