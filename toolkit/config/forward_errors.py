"""Channel counts that do not fit together, found when the first batch runs through a model."""

import re
from types import TracebackType
from typing import Any

from toolkit.errors import UserError

MISMATCH = re.compile(r"expected input\[.*\] to have \d+ channels|mat1 and mat2 shapes cannot be multiplied")


def explain_forward_error(error: BaseException) -> UserError | None:
    """Name the layer of a model that got another number of channels than it was built for; None for other errors."""
    if not isinstance(error, RuntimeError) or not MISMATCH.search(str(error)):
        return None
    modules = _modules(error.__traceback__)
    if not modules:
        return None
    names = {id(module): name for name, module in modules[0].named_modules()}
    name = next((names[id(module)] for module in reversed(modules) if names.get(id(module))), "")
    path = ".".join(["model", *(part for part in name.split(".") if part != "module")])
    return UserError(
        f"{path}: {error}; the channels of the parts of the model (in_channels, out_channels) do not fit together"
    )


def _modules(step: TracebackType | None) -> list[Any]:
    """The modules whose forward passes an error left, outermost first."""
    from torch import nn

    found = []
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            found.append(owner)
        step = step.tb_next
    return found
