"""What one family of published models has to say about itself, and what several say alike."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

Forward = Callable[["nn.Module", dict[str, "Tensor"]], dict[str, "Tensor"]]


@dataclass(frozen=True)
class Built:
    """A model for a case and how to run it.

    Attributes:
        model: with the weights that its constructor gave.
        forward: (model, inputs by name) -> outputs by name.
        unused: published parameters that nothing reads and our model leaves out.
    """

    model: "nn.Module"
    forward: Forward
    unused: int = 0


class NotImplementedCase(Exception):
    """The constructor of a case has a value that our model does not offer. The message names it."""


@dataclass(frozen=True)
class Family:
    """Published models whose checkpoints share one naming.

    Attributes:
        name: what a user calls it.
        recognises: whether a set of keys is in the published naming.
        rename: a published key -> ours; None for what our model computes by itself. `str` where all names are ours.
        covers: whether a parity case (its JSON) is of this family.
        build: our model from the `constructor` of a case that it covers; raises NotImplementedCase.
        verifies: registered names that the outputs of its cases prove.
        adapt: a whole published checkpoint -> the same in the names of a model, where `rename` cannot tell the name
            from a key alone; it goes before `rename`.
    """

    name: str
    recognises: Callable[[set[str]], bool]
    rename: Callable[[str], str | None]
    covers: Callable[[Mapping], bool]
    build: Callable[[Mapping], Built]
    verifies: tuple[str, ...] = ()
    adapt: "Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]] | None" = None


def of_repository(name: str) -> Callable[[Mapping], bool]:
    """A `covers` for the cases of one repository, `owner/name`; a case may tell it as an address."""
    return lambda case: f"/{case['source_repo'].rstrip('/')}".endswith(f"/{name}")


def require(facts: Mapping, offered: Mapping) -> None:
    """Refuse facts that have other values than the only ones that we offer.

    Raises:
        NotImplementedCase: there is one.
    """
    for name, value in offered.items():
        if facts.get(name, value) != value:
            raise NotImplementedCase(f"{name} {facts[name]!r}: {value!r} only")


def stages_and_logits(model: "nn.Module", inputs: "dict[str, Tensor]", first: int = 1) -> "dict[str, Tensor]":
    """What a backbone with a classifier gives: bare maps, `stageI` counted from `first`, and `logits`."""
    (image,) = inputs.values()
    maps = model.maps(image)
    return {f"stage{i}": one for i, one in enumerate(maps, first)} | {"logits": model.logits(maps[-1])}


def watched(
    model: "nn.Module", inputs: "dict[str, Tensor]", modules: "Iterable[tuple[str, nn.Module]]"
) -> "dict[str, Tensor]":
    """What `modules`, parts of `model`, give on the way, the first of several, by name; and `logits`."""
    (image,) = inputs.values()
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda _module, _args, y: found.update({name: y[0] if isinstance(y, tuple) else y})

    handles = [module.register_forward_hook(keep(name)) for name, module in modules]
    found["logits"] = model(image)
    for handle in handles:
        handle.remove()
    return found
