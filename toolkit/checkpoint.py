"""Checkpoints: read without running any code in them, fitted into a model, written whole or not at all.

A checkpoint is a pickle, and a pickle can run code when it is read. `load_checkpoint` lets tensors, plain containers
and the few classes that mmengine stores through and refuses the rest; `guard_runner` makes mmengine's Runner use it
and write its own checkpoints through a temporary file, so that a full disk cannot damage an older one.
"""

import io
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.io import backend_instances
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import nn

from toolkit.errors import UserError, some
from toolkit.files import write_whole
from toolkit.published import convert
from toolkit.published.weights import state_dict_of, unwrapped

DAMAGED = "is damaged or cut short; copy or download it again"


def _history_statistic(owner: type, name: str) -> Callable:
    """What a `HistoryBuffer` needs of `getattr` when it is unpickled, and no more."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise UnpicklingError("Unsupported global: GLOBAL builtins.getattr was not an allowed global")
    return getattr(HistoryBuffer, name)


def _allowed_globals() -> list[Any]:
    """Classes and functions in mmengine's checkpoints that only hold data, for torch's restricted unpickler."""
    core = np._core.multiarray
    allowed: list[Any] = [
        np.ndarray,
        np.dtype,
        HistoryBuffer,
        ConfigDict,
        slice,
        (_history_statistic, "builtins.getattr"),
    ]
    allowed += [kind for kind in vars(np.dtypes).values() if isinstance(kind, type) and issubclass(kind, np.dtype)]
    for package in ("numpy._core", "numpy.core"):  # the name since NumPy 2, and before
        allowed += [
            (core._reconstruct, f"{package}.multiarray._reconstruct"),
            (core.scalar, f"{package}.multiarray.scalar"),
        ]
    return allowed


def _refused_global(message: str) -> str | None:
    """The name of the refused class or function in torch's message, None when that is about something else."""
    found = re.search(r"GLOBAL (\S+)|recognized function (.+)|classes allowlisted .* but got (.+)", message)
    name = next(filter(None, found.groups()), None) if found else None
    return None if name is None or name.endswith(".") else name  # ends so where the file was cut off


def _explain_unreadable(path: Path, error: Exception, unsafe: bool) -> UserError | None:
    """Why `torch.load` failed, None when not for the file's sake."""
    if isinstance(error, MemoryError) or "CUDA" in str(error):
        return None
    if isinstance(error, PermissionError):
        return UserError(f"checkpoint {path} cannot be read: {error.strerror}")
    name = _refused_global(str(error))
    if name is not None and not unsafe:
        return UserError(
            f"checkpoint {path} holds Python code or objects ({name}) and was refused; if you trust where it comes "
            "from, load it with --unsafe-checkpoint (in Python: unsafe=True)"
        )
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return UserError(f"{path} {DAMAGED}" if is_zip else f"{path} is not a checkpoint, or {DAMAGED}")


def _read(path: Path, unsafe: bool, map_location: Any) -> Any:
    if unsafe:
        return torch.load(path, map_location=map_location, weights_only=False)
    with torch.serialization.safe_globals(_allowed_globals()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        return torch.load(path, map_location=map_location, weights_only=True)


def load_checkpoint(path: str | Path, unsafe: bool = False, map_location: Any = "cpu") -> dict:
    """Read a checkpoint file; no code in it is run.

    Args:
        path: a local file.
        unsafe: unpickle without restrictions, which runs whatever code the file holds: only for files you trust.
        map_location: as for `torch.load`.

    Raises:
        UserError: the file is missing, empty, damaged, no checkpoint, or holds a class that is not on the safe list.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the checkpoint file in it (*.pth)")
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    if path.stat().st_size == 0:
        raise UserError(f"checkpoint {path} is empty")
    try:
        checkpoint = _read(path, unsafe, map_location)
    except Exception as error:  # a damaged pickle can raise anything
        explained = _explain_unreadable(path, error, unsafe)
        if explained is None:
            raise
        raise explained from error
    checkpoint = unwrapped(checkpoint, path)
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise UserError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}, not named tensors")
    return checkpoint


@dataclass
class Loaded:
    """What `load_into` found.

    Attributes:
        meta: the checkpoint's `meta` (config text, class list, epoch ...), empty when it has none.
        recognised: the published family whose keys were mapped, or None when the keys are our own.
        missing: keys of the model that the checkpoint lacks.
        unexpected: keys of the checkpoint that the model lacks.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    recognised: str | None = None
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def _class_counts(model: nn.Module, shapes: list[tuple[int, int]]) -> tuple[int, int] | None:
    """(classes of the checkpoint, classes of the model) when all `shapes`, pairs of first sizes, tell of these."""
    for module in model.modules():
        classes = getattr(module, "num_classes", None)
        if not isinstance(classes, int) or classes < 1:
            continue
        counts = set()
        for theirs, ours in shapes:
            if ours % classes == 0 and theirs % (ours // classes) == 0:  # one output for each class (and anchor)
                counts.add(theirs // (ours // classes))
            elif ours == classes + 1:  # softmax with background
                counts.add(theirs - 1)
            else:
                break
        else:
            if len(counts) == 1:
                return counts.pop(), classes
    return None


def _misfit(path: Path, model: nn.Module, state: dict, ours: dict, meta: dict) -> str | None:
    """Why `state` does not fit the model whose tensors are `ours`, in one line; None when every tensor fits."""
    missing = [key for key in ours if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in ours]
    mismatched = [key for key in ours if key in state and state[key].shape != ours[key].shape]
    if not missing and not unexpected and not mismatched:
        return None
    fitting = sum(key in state and state[key].shape == value.shape for key, value in ours.items())
    if not missing and not unexpected and all(state[key].ndim == ours[key].ndim for key in mismatched):
        pairs = [(state[key].shape[0], ours[key].shape[0]) for key in mismatched if ours[key].ndim]
        counts = _class_counts(model, pairs)
        if counts is not None:
            classes = (meta.get("dataset_meta") or {}).get("classes", ())
            names = f" ({some(classes)})" if len(classes) == counts[0] else ""
            return f"{path}: the checkpoint has {counts[0]} classes{names}, the config {counts[1]}"
    facts = [f"{fitting} of the model's {len(ours)} tensors match"]
    if mismatched:
        key = mismatched[0]
        shapes = f"{key} is {tuple(state[key].shape)}, the model has {tuple(ours[key].shape)}"
        facts.append(f"{len(mismatched)} differ in shape ({shapes})")
    if missing:
        facts.append(f"{len(missing)} are missing ({some(missing, 2)})")
    if unexpected:
        facts.append(f"{len(unexpected)} are not the model's ({some(unexpected, 2)})")
    return f"{path} is a checkpoint of another model than the config's: {'; '.join(facts)}"


def check_fit(checkpoint: Mapping, model: nn.Module, path: str | Path) -> None:
    """See to it that every weight of `model` is in a checkpoint of ours and the reverse.

    Raises:
        UserError: the checkpoint, which lies at `path`, is of another model.
    """
    meta = checkpoint["meta"] if isinstance(checkpoint.get("meta"), dict) else {}
    misfit = _misfit(Path(path), model, state_dict_of(checkpoint, path), model.state_dict(), meta)
    if misfit is not None:
        raise UserError(misfit)


def load_into(model: nn.Module, path: str | Path, unsafe: bool = False, strict: bool = True) -> Loaded:
    """Load a checkpoint, our own or a published one, into `model`.

    Args:
        model: gets the weights in place.
        path: a local file, see `load_checkpoint`.
        unsafe: see `load_checkpoint`.
        strict: every tensor of the model must be in the checkpoint and the reverse. False loads what fits, and still
            refuses a file of which nothing does.

    Raises:
        UserError: see `load_checkpoint`; or the checkpoint is of another model.
    """
    path = Path(path).expanduser()
    checkpoint = load_checkpoint(path, unsafe)
    meta = checkpoint["meta"] if isinstance(checkpoint.get("meta"), dict) else {}
    weights = state_dict_of(checkpoint, path)
    converted = convert(weights, model)
    state, ours = converted.state_dict, model.state_dict()
    misfit = _misfit(path, model, state, ours, meta)
    fitting = OrderedDict(
        (key, value) for key, value in state.items() if key in ours and value.shape == ours[key].shape
    )
    if converted.recognised is None and hasattr(weights, "_metadata"):
        fitting._metadata = weights._metadata
    if misfit is not None and (strict or not fitting):
        raise UserError(misfit)
    model.load_state_dict(fitting, strict=False)
    missing = [key for key in ours if key not in fitting]
    return Loaded(meta, converted.recognised, missing, [key for key in state if key not in fitting])


def save_checkpoint(checkpoint: Mapping, path: str | Path) -> None:
    """`torch.save` through `write_whole`.

    Raises:
        UserError: see `write_whole`.
    """
    with io.BytesIO() as buffer:
        torch.save(checkpoint, buffer)
        with buffer.getbuffer() as view:
            write_whole(view, path)


class WholeFileBackend(LocalBackend):
    """mmengine's backend for local files, with writes that leave either the old file or the new one."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_whole(obj, filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        write_whole(obj.encode(encoding), filepath)


def _load_for_runner(filename: str, map_location: Any = None, *, unsafe: bool) -> dict:
    return load_checkpoint(filename, unsafe, map_location)


def guard_runner(unsafe: bool = False) -> None:
    """Make everything that mmengine loads from and saves to local files go through this module, in this process.

    mmengine itself retries a refused file with unrestricted unpickling, and overwrites checkpoints in place. Call it
    before a Runner is built.

    Args:
        unsafe: let checkpoints with code in them through (`--unsafe-checkpoint`).
    """
    loader = partial(_load_for_runner, unsafe=unsafe)
    loader.__name__ = "load_from_local"  # mmengine logs the part after "load_from_"
    CheckpointLoader.register_scheme(prefixes="", loader=loader, force=True)
    register_backend("local", WholeFileBackend, force=True, prefixes="")
    backend_instances.clear()
