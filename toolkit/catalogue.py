"""What the toolkit offers by name, read from the files themselves.

A file's docstring begins with `Name: what it does.` and a paragraph with the paper; both are read without importing
the file. How a module is built as an example follows from its folder and signature, or from its attribute `EXAMPLE`:
`dict(args=..., input=...)`, arguments that replace or join the usual ones and the shape of an input (a list of
shapes for a pyramid).
"""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.registry import FILED

if TYPE_CHECKING:
    from torch import Tensor, nn

PARTS = ("modules", "backbones", "necks", "heads")
CHANNELS = 64


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: as a config says it.
        module: the Python module that registers it.
        part: of PARTS.
        kind: for a module its folder (conv, attention, ...), else the part.
        summary: what it does.
        paper: title, venue, year, link.
    """

    name: str
    module: str
    part: str
    kind: str
    summary: str
    paper: str

    @property
    def verified(self) -> bool:
        """Whether its outputs are held against the published implementation's."""
        from toolkit.published import families

        return any(self.name in family.verifies for family in families())


def entries(part: str) -> list[Entry]:
    """Every name of a part, by kind and name."""
    found = []
    for name, module in FILED.items():
        path = module.split(".")
        if path[1] == part:
            kind = path[2] if len(path) > 3 else part
            found.append(Entry(name, module, part, kind, *describe(module)))
    return sorted(found, key=lambda entry: (entry.kind, entry.name.lower()))


def describe(module: str) -> tuple[str, str]:
    """(what it does, paper) from the docstring of a module that need not be imported."""
    text = ast.get_docstring(ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))) or ""
    first, *rest = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")] or [""]
    summary = first.partition(": ")[2] or first
    return summary.rstrip("."), rest[0].partition("; ")[0].rstrip(".") if rest else ""


def example_args(cls: type, channels: int = CHANNELS) -> dict[str, Any]:
    """Arguments that build the module `cls` for `channels` channels.

    A convolution gets what nn.Conv2d would for a 3x3 kernel that keeps the size, all others their channels alone.
    """
    taken = inspect.signature(cls).parameters
    usual = dict(in_channels=channels, num_features=channels)
    if ".modules.conv." in cls.__module__:
        usual |= dict(out_channels=channels, kernel_size=3, padding=1)
    return {name: value for name, value in usual.items() if name in taken} | getattr(cls, "EXAMPLE", {}).get("args", {})


def example(entry: Entry) -> "tuple[nn.Module, Tensor | list[Tensor]]":
    """A module as an example and an input for it, both with the random numbers of torch's generator."""
    import torch
    from mmengine.registry import MODELS

    cls = MODELS.get(entry.name)
    shape: Sequence = getattr(cls, "EXAMPLE", {}).get("input", (2, CHANNELS, 14, 14))
    module = cls(**example_args(cls))
    return module, [torch.randn(s) for s in shape] if isinstance(shape, list) else torch.randn(*shape)
