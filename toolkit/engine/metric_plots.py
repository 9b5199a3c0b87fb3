"""Plots of what metrics keep beside their figures."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class MetricPlotsHook(Hook):
    """After each validation and test every metric that has `draw_plots(folder)` draws into the work directory."""

    priority = "LOW"

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._draw(runner.val_evaluator, Path(runner.work_dir))

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._draw(runner.test_evaluator, Path(runner.work_dir))

    @staticmethod
    def _draw(evaluator: Evaluator, folder: Path) -> None:
        for metric in evaluator.metrics if is_main_process() else ():
            if hasattr(metric, "draw_plots"):
                metric.draw_plots(folder)
