"""Train configurations under equal conditions, several seeds each, and say which differences exceed the spread."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.engine.comparison import Summary

EXAMPLES = """examples:
  python tools/compare.py detection/retinanet_r18_8e_bccd detection/retinanet_r18_sepclite_8e_bccd -o work_dirs/sepc
  python tools/compare.py BASE.py OTHER.py --seeds 0 1 2 3 4 --jobs 2 --metric coco/bbox_mAP
  python tools/compare.py BASE.py OTHER.py --warm-start FIRST.py --warm-part backbone.

The first CONFIG is what the others are compared with. Stop it when you like: the same command goes on. OUT gets a
folder for each run, results.csv (every run), results.md (means and spreads) and results.png.
"""

WARM_START = "warm_start"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files or shipped names")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("work_dirs/compare"), help="folder for all runs (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time (default: 1)")
    parser.add_argument(
        "--warm-start", metavar="PATH|CONFIG", help="checkpoint that all begin with, or a config to train for it first"
    )
    parser.add_argument(
        "--warm-part", metavar="PREFIX", help="of the warm start only the weights whose names begin so (backbone.)"
    )
    parser.add_argument("--metric", nargs="+", metavar="NAME", help="columns of the table (default: all)")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of all configs"
    )
    parser.add_argument("--force", action="store_true", help="remove earlier runs in OUT")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}")
    import shutil

    from tqdm import tqdm

    from toolkit.config import find_config
    from toolkit.engine.comparison import grid, run_trials, summarise

    for config in args.configs:
        find_config(config)
    trials = grid(args.configs, dict.fromkeys(args.seeds), args.out, args.cfg_options)
    if args.force:
        for folder in [trial.folder for trial in trials] + [args.out / WARM_START]:
            shutil.rmtree(folder, ignore_errors=True)
    if args.warm_part and not args.warm_start:
        raise UserError("--warm-part: there is no --warm-start to take it from")
    start = warm_start(args) if args.warm_start else None
    if args.warm_part:
        start = part_of(start, args.warm_part, args.out / WARM_START)
    trials = grid(args.configs, dict.fromkeys(args.seeds), args.out, args.cfg_options, start)
    with tqdm(total=len(trials), unit="run", disable=None, file=sys.stderr) as progress:

        def on_end(trial, problem: str | None) -> None:
            progress.update()
            progress.write(f"{trial.name} seed {trial.seed}: {problem or 'done'}", file=sys.stderr)

        problems = run_trials(trials, args.jobs, on_end)
    summaries = summarise(trials)
    if summaries:
        report(summaries, args)
    for trial, problem in problems.items():
        print(f"error: {trial.folder / 'train.log'}: {problem}", file=sys.stderr)
    return 1 if problems else 0


def warm_start(args: argparse.Namespace) -> Path:
    """The checkpoint that all runs begin with, trained first where a config is given.

    Raises:
        UserError: there is no such file, or the training failed.
    """
    if args.warm_start.endswith(".pth"):
        path = Path(args.warm_start)
        if not path.is_file():
            raise UserError(f"--warm-start {path}: no such file")
        return path
    from toolkit.config import find_config
    from toolkit.engine.comparison import Trial, run_trials
    from toolkit.engine.setup import last_checkpoint

    find_config(args.warm_start)
    trial = Trial(WARM_START, args.warm_start, args.seeds[0], args.out / WARM_START, tuple(args.cfg_options))
    print(f"warm start: {args.warm_start}", file=sys.stderr)
    problems = run_trials([trial])
    if problems:
        raise UserError(f"{trial.folder / 'train.log'}: {problems[trial]}")
    return last_checkpoint(trial.folder)


def part_of(checkpoint: Path, prefix: str, folder: Path) -> Path:
    """A checkpoint in `folder` with those weights of another whose names begin with `prefix`.

    Raises:
        UserError: there are none.
    """
    import io

    import torch

    from toolkit.checkpoint import load_checkpoint
    from toolkit.files import write_whole
    from toolkit.published.weights import state_dict_of

    weights = {
        key: value for key, value in state_dict_of(load_checkpoint(checkpoint)).items() if key.startswith(prefix)
    }
    if not weights:
        raise UserError(f"--warm-part {prefix}: {checkpoint} has no weights whose names begin so")
    data = io.BytesIO()
    torch.save(dict(state_dict=weights), data)
    write_whole(data.getvalue(), folder / "part.pth")
    return folder / "part.pth"


def report(summaries: "list[Summary]", args: argparse.Namespace) -> None:
    """Print the table and write it, every single figure and a picture to OUT."""
    from toolkit.commands._shared import write_figures
    from toolkit.files import write_whole

    known = list(summaries[0].values)
    metrics = args.metric or known
    missing = [metric for metric in metrics if any(metric not in summary.values for summary in summaries)]
    if missing:
        raise UserError(f"--metric {missing[0]}: not measured by all; there are {', '.join(known)}")
    text = table(summaries, metrics)
    print(text)
    write_whole(text.encode(), args.out / "results.md")
    rows = (
        [summary.name, seed, metric, f"{value:.6g}"]
        for summary in summaries
        for metric, values in summary.values.items()
        for seed, value in zip(summary.seeds, values, strict=True)
    )
    write_figures(args.out / "results.csv", ["config", "seed", "metric", "value"], rows)
    plot(summaries, metrics, args.out / "results.png")
    print("results: " + ", ".join(str(args.out / f"results.{kind}") for kind in ("csv", "md", "png")))


def table(summaries: "list[Summary]", metrics: list[str]) -> str:
    """Means, spreads and differences from the first configuration as Markdown."""
    from toolkit.engine.comparison import gain

    base = summaries[0]
    head = ["configuration", "seeds", *metrics, "s per step"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for summary in summaries:
        cells = [summary.name, str(len(summary.seeds))]
        for metric in metrics:
            cell = f"{summary.mean(metric):.4g} ± {summary.spread(metric):.2g}"
            if summary is not base:
                difference, exceeds = gain(summary, base, metric)
                cell += f" ({difference:+.2g}{'*' * exceeds})"
            cells.append(cell)
        cells.append(f"{sum(summary.seconds_per_step) / len(summary.seeds):.3g}")
        lines.append(cells)
    note = (
        f"Last validation of each run: mean ± standard deviation over the seeds, and the difference from {base.name}; "
        "* where it exceeds both deviations together."
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{note}\n"


def plot(summaries: "list[Summary]", metrics: list[str], path: Path) -> None:
    """One panel a metric: each seed a dot, the mean a bar."""
    from toolkit.plots import png_figure

    with png_figure(path, 2 + 4 * len(metrics), 1.6 + 0.4 * len(summaries)) as figure:
        for number, metric in enumerate(metrics):
            axes = figure.add_subplot(1, len(metrics), number + 1)
            for row, summary in enumerate(summaries):
                values = summary.values[metric]
                axes.scatter(values, [row] * len(values), color="tab:blue", alpha=0.6, zorder=3)
                axes.plot([summary.mean(metric)] * 2, [row - 0.3, row + 0.3], color="black", linewidth=2)
            axes.axvline(summaries[0].mean(metric), color="tab:gray", linestyle=":")
            names = [summary.name for summary in summaries]
            axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_xlabel(metric)
            axes.grid(alpha=0.3)
