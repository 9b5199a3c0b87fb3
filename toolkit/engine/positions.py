"""Learned positions stay where they have an effect."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ClampPositionsHook(Hook):
    """After every training step, call `clamp_parameters()` of all modules that have it, such as Dcls2d."""

    priority = "ABOVE_NORMAL"  # before weights are averaged

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        for module in runner.model.modules():
            if hasattr(module, "clamp_parameters"):
                module.clamp_parameters()
