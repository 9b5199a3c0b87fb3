"""What one family of published models has to say about itself."""

from collections.abc import Callable, Mapping
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
        rename: a published key -> ours; None for what our model computes by itself.
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
