"""Hooks that every training run gets: reproducible randomness, clean stops, progress, and a picture of the curves."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tqdm import tqdm

from toolkit.engine.optimizers import first_rate
from toolkit.engine.sampling import seed_everything
from toolkit.plots import png_figure


@HOOKS.register_module()
class ReproducibleHook(Hook):
    """Seed the main process before every iteration from (run's seed, iteration, rank).

    Dropout, drop path and random assigners then draw the same numbers whether or not the run was interrupted.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_everything(runner.seed, runner.iter, get_rank())


@HOOKS.register_module()
class RemoveHook(Hook):
    """Remove what an earlier run left, once everything of the new one is built and it is about to begin.

    Args:
        paths: files and folders.
    """

    priority = "VERY_HIGH"

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def before_train(self, runner: Runner) -> None:
        for path in self.paths if is_main_process() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal after its state had been saved."""


@HOOKS.register_module()
class StopHook(Hook):
    """On Ctrl-C or SIGTERM, finish the current step, save `stopped.pth`, point `last_checkpoint` at it, and stop.

    A second signal stops at once. While validation runs, the first signal takes effect at its end.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def after_train(self, runner: Runner) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        if is_main_process():
            tqdm.write("stopping after this step, with a checkpoint (once more: stop at once)", file=sys.stderr)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._stop_if_asked(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._stop_if_asked(runner, runner.iter)

    def _stop_if_asked(self, runner: Runner, iteration: int) -> None:
        if not self._asked:
            return
        meta = dict(epoch=runner.epoch, iter=iteration)
        runner.save_checkpoint(runner.work_dir, "stopped.pth", meta=meta, by_epoch=False)
        path = Path(runner.work_dir) / "stopped.pth"
        if is_main_process():
            (path.parent / "last_checkpoint").write_text(str(path))
            tqdm.write(f"saved {path} at iteration {iteration}; go on with --resume", file=sys.stderr)
        self.after_train(runner)
        raise Stopped


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar with rate and remaining time on a terminal; one line an epoch (or every `interval` iterations) anywhere.

    Args:
        interval: iterations between lines in iteration-based runs.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._bar: tqdm | None = None

    def before_train(self, runner: Runner) -> None:
        self._by_epoch = runner.cfg.get("train_cfg", {}).get("by_epoch", True)
        self._mark = (time.perf_counter(), runner.iter)
        self._sums: dict[str, float] = {}
        self._count = 0
        self._start_bar("train", runner.max_iters, runner.iter)
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):  # else an epoch shorter than its interval leaves no point in the curves
                hook.interval = min(hook.interval, len(runner.train_dataloader))

    def _start_bar(self, label: str, total: int, done: int = 0) -> None:
        self._close_bar()
        if is_main_process() and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=label, unit="it", dynamic_ncols=True, leave=False)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        for name, value in (outputs or {}).items():
            if "loss" in name:
                self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._count += 1
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix_str(f"loss {self._sums.get('loss', 0) / self._count:.3f}", refresh=False)
        if not self._by_epoch and self.every_n_train_iters(runner, self.interval):
            self._write_line(runner, f"iteration {runner.iter + 1}/{runner.max_iters}", runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._by_epoch and self._count:
            self._write_line(runner, f"epoch {runner.epoch + 1}/{runner.max_epochs}", runner.iter)

    def _write_line(self, runner: Runner, label: str, iteration: int) -> None:
        now = time.perf_counter()
        rate = (iteration - self._mark[1]) / max(now - self._mark[0], 1e-9)
        losses = {name: value / self._count for name, value in self._sums.items()}
        total = losses.pop("loss", sum(losses.values()))
        parts = "  ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in losses.items())
        lr = first_rate(runner.optim_wrapper)
        left = tqdm.format_interval((runner.max_iters - iteration) / rate)
        self._say(f"{label}  loss {total:.4f} ({parts})  lr {lr:.2e}  {rate:.2f} it/s  left {left}")
        self._mark, self._sums, self._count = (now, iteration), {}, 0

    def _say(self, line: str) -> None:
        if is_main_process():
            tqdm.write(line)
            sys.stdout.flush()

    def before_val_epoch(self, runner: Runner) -> None:
        self._began = time.perf_counter()
        self._start_bar("val", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        self._began = time.perf_counter()
        self._start_bar("test", len(runner.test_dataloader))

    def after_val_iter(self, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._say_metrics("val", metrics)
        if runner._train_loop is not None and not isinstance(runner._train_loop, dict):
            self._mark = (time.perf_counter(), runner.iter)
            self._start_bar("train", runner.max_iters, runner.iter)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._say_metrics("test", metrics)

    def _say_metrics(self, label: str, metrics: dict | None) -> None:
        self._close_bar()
        values = "  ".join(f"{name} {value:.4f}" for name, value in (metrics or {}).items())
        self._say(f"{label}  {values}  ({time.perf_counter() - self._began:.1f} s)")

    def after_run(self, runner: Runner) -> None:
        self._close_bar()
        info = runner.message_hub.runtime_info
        if runner._train_loop is None or isinstance(runner._train_loop, dict) or "best_ckpt" not in info:
            return
        hook = next((hook for hook in runner.hooks if getattr(hook, "key_indicators", None)), None)
        metric = hook.key_indicators[0] if hook else "score"
        self._say(f"best checkpoint: {info['best_ckpt']} ({metric} {info['best_score']:.4f})")


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw `curves.png` in the work directory: losses and metrics over the run, resumed parts included."""

    priority = "LOWEST"

    def after_train(self, runner: Runner) -> None:
        if is_main_process():
            path = draw_curves(Path(runner.work_dir))
            if path is not None:
                tqdm.write(f"curves: {path}")


def read_scalars(work_dir: Path) -> list[dict[str, float]]:
    """What LocalVisBackend wrote under `work_dir`, by step; what a resumed run logged again replaces the earlier."""
    steps: dict[tuple[bool, int], dict] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            steps["loss" in row, row.get("step", 0)] = row
    return [row for _, row in sorted(steps.items(), key=lambda item: item[0][1])]


def draw_curves(work_dir: Path) -> Path | None:
    """Draw losses (left) and validation metrics (right) of the run in `work_dir`; None if nothing was logged."""
    rows = read_scalars(work_dir)
    losses = [row for row in rows if "loss" in row]
    metrics = [row for row in rows if "loss" not in row]
    if not losses and not metrics:
        return None
    path = work_dir / "curves.png"
    with png_figure(path, 13, 4) as figure:
        axes = figure.subplots(1, 2)
        _plot(axes[0], losses, [key for key in _keys(losses) if "loss" in key], "iteration", "loss")
        _plot(axes[1], metrics, [key for key in _keys(metrics) if "time" not in key], "epoch or iteration", "metric")
    return path


def _keys(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row if key not in ("step", "epoch", "iter", "lr")))


def _plot(axes: Any, rows: list[dict], keys: list[str], xlabel: str, title: str) -> None:
    for key in keys:
        points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), (int, float)) and row[key] != -1]
        if points:
            axes.plot(*zip(*points, strict=True), label=key, marker="." if len(points) < 40 else None)
    axes.set(xlabel=xlabel, title=title)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
