"""Several optimizers in a run, for models whose parts learn from different losses."""

from typing import Any

from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from toolkit.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimizersByPart:
    """An optimizer wrapper for each named part of a model, which takes its steps in its own `train_step`.

    optim_wrapper = dict(
        constructor="OptimizersByPart",
        generator=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4)),
        discriminators=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4)),
    )

    Args:
        optim_wrapper_cfg: config of a wrapper for each part, by the attribute of the model that it is.
        paramwise_cfg: not for all parts together; each config may have its own.

    Raises:
        UserError: the model has no such part, or `paramwise_cfg` was given.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        if paramwise_cfg is not None:
            raise UserError("optim_wrapper.paramwise_cfg: give it to the parts, as optim_wrapper.PART.paramwise_cfg")
        self.parts = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        model = getattr(model, "module", model)
        named = dict(model.named_children())
        for name in self.parts:
            if name not in named:
                raise UserError(f"optim_wrapper.{name}: {type(model).__name__} has the parts {', '.join(named)}")
        return OptimWrapperDict(**{name: build_optim_wrapper(named[name], cfg) for name, cfg in self.parts.items()})


def first_rate(optim_wrapper: Any) -> float | None:
    """The learning rate of the first parameters of an optimizer wrapper, of the first one's where there are several."""
    groups = getattr(optim_wrapper, "param_groups", None)
    if isinstance(groups, dict):
        groups = next(iter(groups.values()))
    return groups[0]["lr"] if groups else None
