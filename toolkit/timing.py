"""What a network costs: parameters, multiply-adds, milliseconds, memory."""

import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Numbers in the parameters of `model`, each shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(call: Callable[[], Any]) -> int:
    """Multiply-adds of the convolutions, linear layers and matrix products that `call` runs.

    Half of what torch's FlopCounterMode counts. Norms, activations, recurrent layers, sampling and custom operators
    (deformable convolution) count nothing; a deployed network's direct convolutions by oneDNN and NNPACK neither, so
    count before.
    """
    own = {torch.ops.mkldnn._linear_pointwise: _linear_flops} if torch.backends.mkldnn.is_available() else {}
    with FlopCounterMode(display=False, custom_mapping=own) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() // 2


def _linear_flops(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * weight[0]


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    device: torch.device,
    warmup: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Wall-clock seconds of each call in each of `repeats` rounds.

    A round runs every call once, so that a machine that slows down or gets other work does so to all alike.

    Args:
        calls: what to time, by name.
        repeats: rounds that count.
        device: waited for where it computes asynchronously.
        warmup: rounds before, which do not count.
        on_round: called after every round, those of `warmup` too.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warmup + repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            synchronize(device)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - began)
        on_round()
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def ratio(seconds: list[float], base: list[float]) -> float:
    """Median over the rounds of `interleaved` of one call's time over another's."""
    return median(a / b for a, b in zip(seconds, base, strict=True))


def deviation(outputs: Any, expected: Any) -> float:
    """Largest difference of any tensor in `outputs` from `expected`, relative to that tensor's spread.

    The spread is the largest distance from the tensor's mean, so that a large constant, such as a class bias, does not
    hide a difference. Infinite where one is no number.
    """
    worst = 0.0
    for a, b in zip(_tensors(outputs), _tensors(expected), strict=True):
        spread = (b - b.mean()).abs().max().clamp(min=torch.finfo(b.dtype).tiny)
        off = ((a - b).abs().max() / spread).item()
        worst = max(worst, off if math.isfinite(off) else math.inf)
    return worst


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def enliven(network: nn.Module) -> None:
    """Give batch norms random statistics and scales.

    Fresh norms are the identity: folding them wrongly would show nowhere.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)


def describe_device(device: torch.device, threads: int) -> str:
    """What times were measured on: the GPU's name; the CPU's with the number of threads and the load now."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    name = _cpu_name() or platform.processor() or platform.machine()
    return f"{name}, {threads} thread{'s' * (threads > 1)}{load}"


def _cpu_name() -> str | None:
    """The CPU's model name where Linux tells it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        return None
    return found[1].strip() if found else None


@contextmanager
def memory_growth(device: torch.device) -> Iterator[list[float]]:
    """Measure by how much the memory in use grows at most within the block; put into the yielded list, in MiB.

    On a GPU, of what torch has allocated; on a CPU, of the process's resident memory, which tells something only in a
    process that has not done the same before. Left empty where the system does not tell.
    """
    growth: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield growth
        growth.append((torch.cuda.max_memory_allocated(device) - before) / 2**20)
        return
    before_rss = _status("VmRSS")
    if before_rss is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    yield growth
    peak = _status("VmHWM")
    if before_rss is not None and peak is not None:
        growth.append((peak - before_rss) / 1024)


def _status(key: str) -> int | None:
    """KiB of `key` in Linux's account of this process."""
    try:
        found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
