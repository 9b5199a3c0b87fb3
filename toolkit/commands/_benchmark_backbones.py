"""`benchmark.py backbones`: what backbones cost at several sizes of picture."""

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from toolkit.commands._shared import add_timing_options, apart, check_free, check_least, write_figures
from toolkit.errors import UserError, near
from toolkit.plots import label_points, png_figure

EXAMPLES = """examples:
  python tools/benchmark.py backbones
  python tools/benchmark.py backbones HorNet LSNet SMT --sizes 224 512 640 --threads 2 -o out
  python tools/benchmark.py backbones UniRepLKNet DeepMAD SLABSwin --deploy --repeats 20

Without NAME: every family, in its smallest published variant. Weights are random, for time does not depend on them.
Each round runs all once, so that a drifting machine drifts for all; times are medians over the rounds. On a machine
with other work trust comparisons only. With --deploy the form that toolkit.deploy.deploy gives is timed in the same
rounds and its outputs are held against the plain ones.
OUT gets backbones.csv, backbones.md and backbones.png.
"""
TOLERANCE = 1e-4
LEAST_SIZE = 64
STEP = 32
OUTPUTS = ("backbones.csv", "backbones.md", "backbones.png")


def add_parser(commands) -> None:
    """File `backbones` among the sub-commands of benchmark.py."""
    parser = commands.add_parser(
        "backbones",
        help="backbones: parameters, multiply-adds, throughput and memory at several sizes",
        description="Compare what backbones cost.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="backbones as `toolkit list backbones` prints them")
    add_timing_options(parser, "work_dirs/backbones", repeats=5)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[224, 640], help="of a side in pixels (default: 224 640)"
    )
    parser.add_argument("--batch", type=int, default=1, help="pictures at once (default: 1)")
    parser.add_argument("--deploy", action="store_true", help="time the deployed forms too")
    parser.set_defaults(run=run)


@dataclass
class Row:
    """One backbone at one size. Multiply-adds and ms for one picture, memory in MiB for a batch; None: not measured.

    `deploy_ratio` is the deployed form's time to the plain one's, `deviation` that of its outputs.
    """

    name: str
    variant: str
    size: int
    params: int
    macs: int
    memory: float | None
    ms: float
    deploy_ms: float | None = None
    deploy_ratio: float | None = None
    deviation: float | None = None

    @property
    def per_second(self) -> float:
        """Pictures in a second."""
        return 1000 / self.ms

    @property
    def is_equal(self) -> bool:
        """Whether the deployed form, if any, gives the same outputs."""
        return self.deviation is None or self.deviation <= TOLERANCE


def run(args: argparse.Namespace) -> int:
    """`benchmark.py backbones`; exit code 1 when a deployed backbone gives other outputs."""
    check_least(args, batch=1, threads=1, repeats=1)
    for size in args.sizes:
        if size < LEAST_SIZE or size % STEP:
            raise UserError(f"--sizes must be multiples of {STEP} from {LEAST_SIZE} on, got {size}")
    check_free(args.out, OUTPUTS, args.force)
    import torch
    from tqdm import tqdm

    from toolkit.engine.backbone_benchmark import SMALLEST, cost, time_together, variant
    from toolkit.inference import find_device

    for name in args.names:
        if name not in SMALLEST:
            raise UserError(f"{name}: no such backbone{near(name, SMALLEST)}; there are {', '.join(SMALLEST)}")
    names, sizes = list(dict.fromkeys(args.names)) or list(SMALLEST), sorted(set(args.sizes))
    device = find_device(args.device)
    torch.set_num_threads(args.threads)
    preload = ["toolkit.engine.backbone_benchmark", "timm"] if device.type == "cpu" else []
    rows = []
    with tqdm(
        total=len(sizes) * (len(names) + 1 + args.repeats), unit="round", disable=None, file=sys.stderr
    ) as progress:
        for size in sizes:
            costs = {}
            for name in names:
                progress.set_description(f"{size}: {name}")
                costs[name] = apart(cost, name, size, args.batch, args.threads, str(device), preload=preload)
                progress.update()
            progress.set_description(f"{size}: times")
            times = time_together(names, size, args.batch, device, args.repeats, args.deploy, progress.update)
            rows += [Row(name, variant(name), size, **costs[name], **times[name]) for name in names]
    report(rows, args, device)
    return 0 if all(row.is_equal for row in rows) else 1


# ------------------------------------------------------------------------------------------------------------ output


def report(rows: list[Row], args: argparse.Namespace, device) -> None:
    """Print the tables and write them, every figure and a plot to OUT."""
    from toolkit.files import write_whole

    caption = describe(args, device)
    text = table(rows, caption)
    print(text)
    write_whole(text.encode(), args.out / "backbones.md")
    names = [field.name for field in fields(Row)]
    write_figures(args.out / "backbones.csv", names, ([getattr(row, name) for name in names] for row in rows))
    plot(rows, caption, args.out / "backbones.png")
    print("results: " + ", ".join(str(args.out / name) for name in OUTPUTS))


def describe(args: argparse.Namespace, device) -> str:
    """On what, and how, the numbers were measured."""
    import torch

    from toolkit.timing import describe_device

    pictures = f"{args.batch} picture{'s' * (args.batch > 1)} at once"
    return (
        f"{pictures}, float32, {describe_device(device, args.threads)}, torch {torch.__version__}; medians of "
        f"{args.repeats} interleaved rounds."
    )


def table(rows: list[Row], caption: str) -> str:
    """The rows as Markdown, size by size, the fastest first."""
    has_deploy = any(row.deploy_ms is not None for row in rows)
    head = ["backbone", "variant", "params M", "GMACs", "ms", "pictures/s", "memory MiB"]
    head += ["deploy ms", "equal (deviation)"] * has_deploy
    parts = []
    for size in dict.fromkeys(row.size for row in rows):
        lines = [head, ["---", "---"] + ["---:"] * (len(head) - 2)]
        for row in sorted((row for row in rows if row.size == size), key=lambda row: row.ms):
            cells = [row.name, row.variant, f"{row.params / 1e6:.2f}", f"{row.macs / 1e9:.2f}", f"{row.ms:.1f}"]
            cells += [f"{row.per_second:.1f}", "-" if row.memory is None else f"{row.memory:.0f}"]
            if has_deploy:
                cells.append(f"{row.deploy_ms:.1f} ({row.deploy_ratio:.2f})")
                cells.append(f"{'yes' if row.is_equal else 'NO'} ({row.deviation:.0e})")
            lines.append(cells)
        parts.append(f"### {size}x{size}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    notes = (
        f"{caption} GMACs: multiply-adds of convolutions, linear layers and matrix products of one picture, half of "
        "torch's FlopCounterMode. Memory: growth of the process while it runs its first batch."
    )
    if has_deploy:
        notes += (
            " In brackets the deployed form's time to the plain one's. Equal: no output deviates by more than "
            f"{TOLERANCE:g} of its spread."
        )
    return "\n\n".join(parts) + f"\n\n{notes}\n"


def plot(rows: list[Row], caption: str, path: Path) -> None:
    """Pictures in a second over multiply-adds, one panel a size; the deployed forms joined to the plain ones."""
    from textwrap import fill

    from matplotlib.ticker import LogLocator, NullFormatter

    sizes = list(dict.fromkeys(row.size for row in rows))
    with png_figure(path, 9 * len(sizes), 7, layout=None) as figure:
        panels = figure.subplots(1, len(sizes), squeeze=False)[0]
        figure.subplots_adjust(left=0.6 / len(sizes) / 9 + 0.03, right=0.99, top=0.88, bottom=0.09, wspace=0.12)
        figure.suptitle(fill(caption, 100 * len(sizes)), fontsize=8)
        for axes, size in zip(panels, sizes, strict=True):
            some = [row for row in rows if row.size == size]
            gmacs = [row.macs / 1e9 for row in some]
            axes.scatter(gmacs, [row.per_second for row in some], s=28, label="as trained")
            deployed = [1000 / row.deploy_ms for row in some if row.deploy_ms is not None]
            if deployed:
                axes.scatter(gmacs, deployed, s=28, marker="^", label="deployed")
                axes.vlines(gmacs, [row.per_second for row in some], deployed, "0.7", zorder=0)
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(NullFormatter())
            axes.margins(0.12)
            axes.set_xlabel("multiply-adds of a picture (G)")
            axes.set_ylabel("pictures per second")
            axes.set_title(f"{size} x {size}")
            axes.grid(alpha=0.3, which="both")
            axes.legend(loc="upper right")
            points = {row.name: (x, row.per_second) for x, row in zip(gmacs, some, strict=True)}
            label_points(axes, points, list(zip(gmacs, deployed, strict=False)))
