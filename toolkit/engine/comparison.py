"""Many training runs under equal conditions: run, gone on with, and put side by side.

A trial is one configuration with one seed. Each runs as a process of its own in a folder of its own, so that one that
fails takes no other with it, and those that a stop left unfinished go on from their last checkpoint. What a trial
reaches is its LAST validation: the best of many would count how often it was looked at.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev

from toolkit.errors import UserError
from toolkit.files import write_whole

RESULT = "result.json"


@dataclass(frozen=True)
class Trial:
    """One training run.

    Attributes:
        name: of the configuration in tables and folders.
        config: file or shipped name.
        seed: of everything random.
        folder: the run's work directory.
        options: `KEY=VALUE` overrides of the config.
        load_from: checkpoint whose weights it begins with.
    """

    name: str
    config: str
    seed: int
    folder: Path
    options: tuple[str, ...] = ()
    load_from: Path | None = None

    def fingerprint(self) -> str:
        """What the run's outcome depends on; an earlier result counts only for the same one."""
        from toolkit.config import load_config

        text = load_config(self.config, list(self.options)).pretty_text
        start = hashlib.sha256(self.load_from.read_bytes()).hexdigest() if self.load_from else ""
        return hashlib.sha256(f"{text}\n{self.seed}\n{start}".encode()).hexdigest()

    def result(self) -> dict | None:
        """What the finished run reached, or None.

        Raises:
            UserError: the folder holds the result of another configuration.
        """
        path = self.folder / RESULT
        if not path.is_file():
            return None
        result = json.loads(path.read_text())
        if result["fingerprint"] != self.fingerprint():
            raise UserError(f"{path}: is of an older form of {self.config}; --force runs it anew")
        return result


@dataclass
class Summary:
    """The seeds of one configuration together.

    Attributes:
        name: of the configuration.
        seeds: that have a result.
        values: metric -> its last validation's value for each seed.
        seconds_per_step: wall-clock time of a training step, median of each run.
    """

    name: str
    seeds: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds_per_step: list[float] = field(default_factory=list)

    def mean(self, metric: str) -> float:
        return mean(self.values[metric])

    def spread(self, metric: str) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        values = self.values[metric]
        return stdev(values) if len(values) > 1 else 0.0


def grid(
    configs: Sequence[str], seeds: Iterable[int], out: Path, options: Sequence[str] = (), load_from: Path | None = None
) -> list[Trial]:
    """Every config with every seed, seed after seed, so that a stopped comparison has whole seeds.

    Raises:
        UserError: two configs have the same name.
    """
    names = [Path(config).stem for config in configs]
    double = next((name for name in names if names.count(name) > 1), None)
    if double:
        raise UserError(f"{double}: named twice; two configurations with one name cannot be told apart")
    return [
        Trial(name, config, seed, out / name / f"seed_{seed}", tuple(options), load_from)
        for seed, (name, config) in product(seeds, zip(names, configs, strict=True))
    ]


def run_trials(
    trials: Sequence[Trial], jobs: int = 1, on_end: Callable[[Trial, str | None], None] = lambda trial, problem: None
) -> dict[Trial, str]:
    """Run what has no result yet, `jobs` at a time, and give the problems of those that failed.

    Args:
        trials: what to run, in this order.
        jobs: runs at the same time; they share the processor's cores.
        on_end: told of every trial that has ended, with its problem.
    """
    problems: dict[Trial, str] = {}
    threads = max(1, len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]) // jobs)

    def work(trial: Trial) -> None:
        problem = None if trial.result() else train(trial, threads)
        if problem:
            problems[trial] = problem
        on_end(trial, problem)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(work, trials))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return problems


def train(trial: Trial, threads: int) -> str | None:
    """Run one trial, or go on with it; its output goes to `train.log` in its folder. What went wrong, or None."""
    trial.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "toolkit", "train", trial.config, "--work-dir", str(trial.folder), "--resume"]
    command += ["--seed", str(trial.seed)]
    if trial.options:
        command += ["--cfg-options", *trial.options]
    if trial.load_from and not (trial.folder / "last_checkpoint").is_file():
        command.remove("--resume")
        command += ["--load-from", str(trial.load_from)]
    with (trial.folder / "train.log").open("ab") as log:
        run = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    if run.returncode:
        lines = (trial.folder / "train.log").read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'ended without a word'} (exit code {run.returncode})"
    return _write_result(trial)


def _write_result(trial: Trial) -> str | None:
    from toolkit.engine.hooks import read_scalars

    rows = read_scalars(trial.folder)
    steps = [row for row in rows if "loss" in row]
    validations = [row for row in rows if "loss" not in row]
    if not validations:
        return f"{trial.config}: has no validation to compare by"
    metrics = {
        key: value
        for key, value in validations[-1].items()
        if isinstance(value, int | float) and key not in ("step", "time", "data_time")
    }
    result = dict(
        fingerprint=trial.fingerprint(), metrics=metrics, seconds_per_step=median(row["time"] for row in steps)
    )
    write_whole(json.dumps(result, indent=1).encode(), trial.folder / RESULT)
    return None


def summarise(trials: Iterable[Trial]) -> list[Summary]:
    """One summary for each configuration of which at least one trial has a result, in the trials' order."""
    summaries: dict[str, Summary] = {}
    for trial in trials:
        result = trial.result()
        if result is None:
            continue
        summary = summaries.setdefault(trial.name, Summary(trial.name))
        summary.seeds.append(trial.seed)
        summary.seconds_per_step.append(result["seconds_per_step"])
        for metric, value in result["metrics"].items():
            summary.values.setdefault(metric, []).append(value)
    return list(summaries.values())


def gain(one: Summary, base: Summary, metric: str) -> tuple[float, bool]:
    """By how much the mean of `one` is above that of `base`, and whether that exceeds both spreads together.

    With fewer than two seeds there is no spread and nothing is claimed.
    """
    difference = one.mean(metric) - base.mean(metric)
    several = min(len(one.seeds), len(base.seeds)) > 1
    return difference, several and abs(difference) > one.spread(metric) + base.spread(metric)
