"""Checkpoints as their authors publish them: recognised by their keys, and mapped onto the models of this toolkit.

Each family of published models is one file here that holds a `FAMILY` (see `toolkit.published.family`), and one name
in `FAMILY_FILES`. `convert` maps a checkpoint; `toolkit.published.parity` proves the models and the maps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from toolkit.published.family import Family
from toolkit.published.weights import state_dict_of

if TYPE_CHECKING:
    from torch import Tensor, nn

FAMILY_FILES = (
    "yolo_ms",
    "mossformer2",
    "frcrn",
    "d3net",
    "state",
    "bvr",
    "fdconv",
    "sepc",
    "timm_nets",
    "hornet",
    "lsnet",
    "unireplknet",
    "slab",
    "attentions",
    "crowd",
    "spartan",
    "glnet",
    "cvt",
    "deepmad",
    "ninformer",
    "dhvt",
    "vitcomer",
    "affnet",
    "smt",
    "efficientmod",
    "convs",
)


@dataclass
class Converted:
    """A checkpoint in the names of one model.

    Attributes:
        state_dict: the whole checkpoint, what does not fit included; fits strictly when `complete`.
        recognised: the family whose published names were mapped; None where the names are the model's own.
        missing: keys of the model that the checkpoint lacks.
        unexpected: keys of the checkpoint, as they are in it, for which the model has no place.
        mismatched: (key of the checkpoint, its shape, the model's shape).
    """

    state_dict: dict[str, "Tensor"]
    recognised: str | None = None
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Every key of the checkpoint has its place and every key of the model its value."""
        return not (self.missing or self.unexpected or self.mismatched)

    def problems(self) -> list[str]:
        """One line for each key that does not fit."""
        lines = [f"missing {key}" for key in self.missing]
        lines += [f"unexpected {key}" for key in self.unexpected]
        return lines + [
            f"{key} has shape {list(got)}, the model's is {list(want)}" for key, got, want in self.mismatched
        ]


def families() -> list[Family]:
    """All families, in the order in which they are asked."""
    return [import_module(f"toolkit.published.{name}").FAMILY for name in FAMILY_FILES]


def recognise(keys: Iterable[str]) -> Family | None:
    """The family in whose published names `keys` are."""
    keys = set(keys)
    return next((family for family in families() if family.recognises(keys)), None)


def convert(state_dict: Mapping, model: "nn.Module") -> Converted:
    """Map a checkpoint, published or our own, wrapped or bare, onto the keys of `model`.

    Tensors that the model shares between modules are filled in all places when the checkpoint has one of them.

    Raises:
        UserError: `state_dict` holds no weights.
    """
    source = {k: value for k, value in state_dict_of(state_dict).items() if not k.startswith("data_preprocessor.")}
    own = model.state_dict(keep_vars=True)
    family = None if set(source) == set(own) else recognise(source)
    if family and family.adapt:
        source = family.adapt(source, model)
    rename = family.rename if family else str
    result = Converted({}, family.name if family else None)
    for key, value in source.items():
        name = rename(key)
        if name is None:
            continue
        result.state_dict[name] = value
        if name not in own:
            result.unexpected.append(key)
        elif value.shape != own[name].shape:
            result.mismatched.append((key, tuple(value.shape), tuple(own[name].shape)))
    filled = {id(own[name]): value for name, value in result.state_dict.items() if name in own}
    for name, tensor in own.items():
        if name in result.state_dict:
            continue
        if id(tensor) in filled:
            result.state_dict[name] = filled[id(tensor)]
        else:
            result.missing.append(name)
    return result
