"""`benchmark.py modules`: every module in the same place of the same small networks, trained alike."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev

from toolkit.commands._shared import check_least, write_figures
from toolkit.errors import UserError

EXAMPLES = """examples:
  python tools/benchmark.py modules
  python tools/benchmark.py modules ECA ELA scSE --networks resnet18 --epochs 20 -o out
  python tools/benchmark.py modules --data my_pictures --size 64 --jobs 2

Without NAME: all modules of the common set that take and give maps of one size. Each is put into the second 3x3
convolution of every block of a narrow ResNet-18 and into the depthwise convolution of every block of a small ConvNeXt:
a convolution takes its place, an attention module comes after its norm, a norm replaces the norms. `plain` is the
network as it is. Data, augmentation, schedule and seeds are the same for all.

Without --data: scikit-learn's digits on cluttered 32x32 pictures, made here. --data DIR: a folder for each class, with
pictures below; every fifth picture of each is kept for validation. Stop it when you like: the same command goes on.
OUT gets modules.csv, modules.md, accuracy_time.png, accuracy_params.png and a folder of single results.
"""
NETWORKS = ("resnet18", "convnext")
LEAST_SIZE = 32  # of the pictures: the ConvNeXt halves it five times
OUTPUTS = ("modules.csv", "modules.md", "accuracy_time.png", "accuracy_params.png")


def add_parser(commands) -> None:
    """File `modules` among the sub-commands of benchmark.py."""
    parser = commands.add_parser(
        "modules",
        help="modules: accuracy, time and size of each in the same small networks",
        description="Compare modules under equal conditions.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="modules as `toolkit list modules` prints them")
    parser.add_argument("-o", "--out", type=Path, default=Path("work_dirs/modules"), help="default: %(default)s")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: both")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder of classes (default: digits)")
    parser.add_argument("--size", type=int, default=32, help="side of the pictures in pixels (default: 32)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--epochs", type=int, default=8, help="default: 8")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="modules at the same time (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each (default: 1)")
    parser.add_argument("--force", action="store_true", help="remove earlier results in OUT")
    parser.set_defaults(run=run)


@dataclass
class Result:
    """One module in one network. Times in ms for a batch of 64, memory in MiB, accuracies from 0 to 1 by seed.

    Ratios are those of the times to the plain network's, measured in turn with it.
    """

    network: str
    module: str
    kind: str
    params: int
    macs: int
    forward_ms: float
    forward_ratio: float
    step_ms: float
    step_ratio: float
    memory: float | None
    accuracies: dict[int, float]

    @property
    def accuracy(self) -> float:
        return mean(self.accuracies.values())

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies.values()) if len(self.accuracies) > 1 else 0.0


@dataclass(frozen=True)
class Task:
    """What a process of its own does: one module in one network, all seeds."""

    network: str
    module: str
    data: Path | None
    size: int
    seeds: tuple[int, ...]
    epochs: int
    threads: int
    out: Path

    @property
    def path(self) -> Path:
        return self.out / "single" / f"{self.network}_{self.module}.json"

    def settings(self) -> dict:
        """What a result depends on."""
        return dict(data=str(self.data), size=self.size, epochs=self.epochs)

    def read(self) -> dict:
        """What an earlier run found, as far as it came.

        Raises:
            UserError: it was made with other settings.
        """
        if not self.path.is_file():
            return dict(settings=self.settings(), accuracies={}, cost=None)
        found = json.loads(self.path.read_text())
        if found["settings"] != self.settings():
            raise UserError(f"{self.path}: was made with other settings; --force begins anew, or give another --out")
        return found

    def is_done(self) -> bool:
        """Whether nothing of it is left to do. Raises as `read`."""
        found = self.read()
        return found["cost"] is not None and all(str(seed) in found["accuracies"] for seed in self.seeds)


def run(args: argparse.Namespace) -> int:
    """`benchmark.py modules`; exit code 1 when a module failed."""
    check_least(args, epochs=1, jobs=1, threads=1, size=LEAST_SIZE)
    import shutil
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    from tqdm import tqdm

    from toolkit.engine.module_benchmark import PLAIN, load_data

    names = find_modules(args.names)
    load_data(args.data, args.size)  # complains of it before the work
    if args.force:
        shutil.rmtree(args.out / "single", ignore_errors=True)
    tasks = [
        Task(network, name, args.data, args.size, tuple(dict.fromkeys(args.seeds)), args.epochs, args.threads, args.out)
        for network in args.networks
        for name in [PLAIN, *names]
    ]
    left = [task for task in tasks if not task.is_done()]
    problems = {}
    with (
        ProcessPoolExecutor(args.jobs, get_context("spawn"), max_tasks_per_child=1) as pool,
        tqdm(total=len(left), unit="module", disable=None, file=sys.stderr) as progress,
    ):
        futures = {pool.submit(work, task): task for task in left}
        for future in as_completed(futures):
            task = futures[future]
            if future.exception():
                problems[task] = f"{type(future.exception()).__name__}: {future.exception()}".partition("\n")[0]
                progress.write(f"{task.network} {task.module}: {problems[task]}", file=sys.stderr)
            progress.update()
    report([collect(task) for task in tasks if task not in problems], args)
    for task, problem in problems.items():
        print(f"error: {task.module} in {task.network}: {problem}", file=sys.stderr)
    return int(bool(problems))


def find_modules(names: list[str]) -> list[str]:
    """Names of the catalogue that can be put into a network, all or those asked for.

    Raises:
        UserError: one is unknown, or does not take and give maps of one shape.
    """
    import toolkit  # noqa: F401  files the names
    from toolkit.catalogue import entries

    fitting = [entry.name for entry in entries("modules") if takes_maps(entry)]
    for name in names:
        if name not in fitting:
            known = ", ".join(fitting)
            raise UserError(f"{name}: not a module that takes and gives maps of one shape; there are {known}")
    return names or fitting


def takes_maps(entry) -> bool:
    """Whether an example of the module gives a map of its input's shape."""
    import torch

    from toolkit.catalogue import example

    module, x = example(entry)
    if isinstance(x, list) or x.dim() != 4:
        return False
    with torch.no_grad():
        y = module.eval()(x)
    return isinstance(y, torch.Tensor) and y.shape == x.shape


def work(task: Task) -> None:
    """Do what of a task is not done yet, and write every part when it is there."""
    import torch

    from toolkit.engine.module_benchmark import build, cost, load_data, train
    from toolkit.files import write_whole

    torch.set_num_threads(task.threads)
    found = task.read()
    data = load_data(task.data, task.size)
    classes = int(data[1].max()) + 1
    if found["cost"] is None:
        found["cost"] = cost(task.network, task.module, classes, task.size)
        write_whole(json.dumps(found).encode(), task.path)
    for seed in task.seeds:
        if str(seed) not in found["accuracies"]:
            torch.manual_seed(seed)
            net = build(task.network, task.module, classes, task.size)
            found["accuracies"][str(seed)] = train(net, data, task.epochs, seed)
            write_whole(json.dumps(found).encode(), task.path)


# ------------------------------------------------------------------------------------------------------------ output


def collect(task: Task) -> Result:
    """What is known of a finished task, of the seeds asked for."""
    from toolkit.catalogue import entries

    found = task.read()
    kind = next((entry.kind for entry in entries("modules") if entry.name == task.module), "")
    accuracies = {seed: found["accuracies"][str(seed)] for seed in task.seeds}
    return Result(task.network, task.module, kind, accuracies=accuracies, **found["cost"])


def report(results: list[Result], args: argparse.Namespace) -> None:
    """Print the table and write it, every figure and two pictures to OUT."""
    from toolkit.files import write_whole

    if not results:
        return
    text = table(results, args)
    print(text)
    write_whole(text.encode(), args.out / "modules.md")
    names = [field.name for field in fields(Result) if field.name != "accuracies"]
    rows = (
        [asdict(result)[name] for name in names] + [result.accuracy, result.spread, len(result.accuracies)]
        for result in results
    )
    write_figures(args.out / "modules.csv", [*names, "accuracy", "spread", "seeds"], rows)
    plot(results, "step_ratio", "time of a training step, plain = 1", args.out / "accuracy_time.png")
    plot(results, "params", "parameters", args.out / "accuracy_params.png")
    print("results: " + ", ".join(str(args.out / name) for name in OUTPUTS))


def table(results: list[Result], args: argparse.Namespace) -> str:
    """The results as Markdown, network by network, the best first."""
    from toolkit.engine.module_benchmark import BATCH, PLAIN

    head = ["module", "kind", "accuracy %", "params K", "MMACs", "forward", "step", "memory MiB"]
    parts = []
    for network in dict.fromkeys(result.network for result in results):
        rows = [result for result in results if result.network == network]
        plain = next((row for row in rows if row.module == PLAIN), None)
        lines = [head, ["---", "---"] + ["---:"] * (len(head) - 2)]
        for row in sorted(rows, key=lambda row: -row.accuracy):
            several = plain and min(len(row.accuracies), len(plain.accuracies)) > 1
            better = several and row.accuracy - plain.accuracy > row.spread + plain.spread
            lines.append(
                [
                    f"**{row.module}**" if row is plain else row.module,
                    row.kind,
                    f"{100 * row.accuracy:.1f} ± {100 * row.spread:.1f}{'*' if better else ''}",
                    f"{row.params / 1e3:.0f}",
                    f"{row.macs / 1e6:.1f}",
                    f"{row.forward_ratio:.2f}",
                    f"{row.step_ratio:.2f}",
                    "-" if row.memory is None else f"{row.memory:.0f}",
                ]
            )
        parts.append(f"### {network}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    data = "digits on clutter" if args.data is None else args.data.name
    note = (
        f"{data}, {args.size}x{args.size} pixels, {args.epochs} epochs, seeds {' '.join(map(str, args.seeds))}: mean ± "
        "standard deviation of the validation accuracy after the last epoch; * where it exceeds the plain network's by "
        "more than both deviations together. Forward (evaluation) and step (forward and backward) are times relative "
        f"to the plain network's, measured in turn, batch {BATCH}; memory is the growth during a first step."
    )
    return "\n\n".join(parts) + f"\n\n{note}\n"


def plot(results: list[Result], field: str, label: str, path: Path) -> None:
    """Accuracy over a cost, one panel a network."""
    from toolkit.engine.module_benchmark import PLAIN
    from toolkit.plots import label_points, png_figure

    networks = list(dict.fromkeys(result.network for result in results))
    kinds = sorted({result.kind for result in results})
    with png_figure(path, 9 * len(networks), 6.5) as figure:
        for number, network in enumerate(networks):
            axes = figure.add_subplot(1, len(networks), number + 1)
            rows = [result for result in results if result.network == network]
            for colour, kind in enumerate(kinds):
                some = [row for row in rows if row.kind == kind]
                if some:
                    x, y = [getattr(row, field) for row in some], [100 * row.accuracy for row in some]
                    bars = [100 * row.spread for row in some]
                    axes.errorbar(x, y, bars, fmt="o", color=f"C{colour}", label=kind or PLAIN, alpha=0.8, capsize=2)
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.set_ylabel("accuracy %")
            axes.set_title(network)
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right")
            label_points(axes, {row.module: (getattr(row, field), 100 * row.accuracy) for row in rows})
