"""Checkpoints that a full disk or a crash cannot take away."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS


class _RemoveLater:
    """A file backend that only notes what is to be removed, until `flush`."""

    def __init__(self, backend: Any):
        self._backend = backend
        self._paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._paths.append(path)

    def flush(self, keep: set[str | None]) -> None:
        for path in set(self._paths) - keep:
            if self._backend.isfile(path):
                self._backend.remove(path)
        self._paths.clear()


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, which removes an outdated checkpoint only once its successor is on disk.

    `best.pth` in the work directory is a link to the best checkpoint so far.
    """

    def before_train(self, runner: Any) -> None:
        super().before_train(runner)
        self.file_backend = _RemoveLater(self.file_backend)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()
        if is_main_process() and getattr(self, "best_ckpt_path", None):
            self._link(Path(self.best_ckpt_path))

    def _remove_outdated(self) -> None:
        best = getattr(self, "best_ckpt_path_dict", {}).values()
        self.file_backend.flush(keep={self.last_ckpt, getattr(self, "best_ckpt_path", None), *best})

    @staticmethod
    def _link(target: Path) -> None:
        link = target.with_name(".best.tmp")
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
        os.replace(link, target.with_name("best.pth"))
