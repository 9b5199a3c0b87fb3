"""The weights in a checkpoint file, however it wraps them."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from toolkit.errors import UserError, some

# Where published files of several families keep the weights, best first: averaged ones go before raw ones.
STATE_KEYS = (
    "state_dict_ema", "model_ema", "state_dict", "params_ema", "params", "model_state_dict", "model", "net",
    "generator", "ema_state_dict",
)  # fmt: skip
AVERAGING_COUNTERS = {"steps", "n_averaged"}  # of mmengine's and torch's averaged models, beside `module.`


def unwrapped(checkpoint: Any, path: str | Path = "the checkpoint") -> Any:
    """What lists of lists hold, where that is one mapping; anything else as it is.

    STATE's files are such lists, by scene, row and column of the frame, with one model in them.

    Raises:
        UserError: there are several mappings.
    """
    found = [part for part in _parts(checkpoint) if isinstance(part, Mapping)]
    if isinstance(checkpoint, Mapping) or not found:
        return checkpoint
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} models in a list; save the one that you want in a file of its own")
    return found[0]


def _parts(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list | tuple):
        for part in nested:
            yield from _parts(part)
    else:
        yield nested


def state_dict_of(checkpoint: Mapping, path: str | Path = "the checkpoint") -> OrderedDict[str, Tensor]:
    """The weights in a checkpoint, without the `module.` of data-parallel training.

    mmengine's EMA hook stores the averaged weights as `state_dict` and the raw ones as `ema_state_dict`, so
    `state_dict` is what inference wants in either case.

    Raises:
        UserError: there are no named tensors.
    """
    found = next((checkpoint[key] for key in STATE_KEYS if isinstance(checkpoint.get(key), Mapping)), checkpoint)
    state = OrderedDict((key, value) for key, value in found.items() if isinstance(value, Tensor))
    if not state:
        raise UserError(f"{path} is not a checkpoint of a model: it holds no named tensors, only {some(checkpoint)}")
    if all(key.startswith("module.") for key in state.keys() - AVERAGING_COUNTERS):
        return OrderedDict((k.removeprefix("module."), v) for k, v in state.items() if k.startswith("module."))
    if hasattr(found, "_metadata"):  # module versions, by which modules rename their old keys
        state._metadata = found._metadata
    return state
