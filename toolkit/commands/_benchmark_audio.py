"""`benchmark.py audio`: what separating, denoising and cancelling echo cost."""

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from toolkit.commands._shared import add_timing_options, apart, check_free, check_least, write_figures
from toolkit.errors import UserError
from toolkit.plots import png_figure

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

EXAMPLES = """examples:
  python tools/benchmark.py audio
  python tools/benchmark.py audio audio/mossformer2_se_48k my_denoiser.py --seconds 16 --threads 2 -o out

Without CONFIG: the two networks whose weights come with the toolkit, and FRCRN, MossFormer2 for enhancement and for
separation, of which the last takes most of the time (a minute and more). Weights are random, for time does not depend
on them. What is timed is the network from samples to samples, as a whole: no reading, resampling, windows or writing.
"plain" is the network as it is trained, "deployed" after toolkit.deploy.deploy, the form in which commands use it.
Each round runs both once; times are medians of the rounds.
OUT gets audio.csv, audio.md and audio.png.
"""
NETWORKS = ("denoiser_16k", "d3net_aec_small_8k", "frcrn_se_16k", "mossformer2_se_48k", "mossformer2_ss_16k")
TOLERANCE = 1e-4
OUTPUTS = ("audio.csv", "audio.md", "audio.png")


def add_parser(commands) -> None:
    """File `audio` among the sub-commands of benchmark.py."""
    parser = commands.add_parser(
        "audio",
        help="audio networks: time for a second of audio, memory",
        description="Time audio networks beside each other.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="config files or shipped names")
    add_timing_options(parser, "work_dirs/audio", repeats=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the recording (default: 4)")
    parser.set_defaults(run=run)


@dataclass
class Row:
    """What one network costs with a recording of `seconds`: times in s, memory in MiB (None: not measured).

    `ratio` is the deployed form's time to the plain one's, `deviation` that of its outputs.
    """

    name: str
    seconds: float
    sample_rate: int
    params: int
    macs: int
    plain_s: float
    deployed_s: float
    ratio: float
    deviation: float
    memory: float | None

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio, deployed."""
        return self.deployed_s / self.seconds

    @property
    def is_equal(self) -> bool:
        """Whether the deployed form gives the same outputs."""
        return self.deviation <= TOLERANCE


def run(args: argparse.Namespace) -> int:
    """`benchmark.py audio`; exit code 1 when a deployed network gives other outputs."""
    check_least(args, threads=1, repeats=1)
    if not 0.1 <= args.seconds <= 600:
        raise UserError(f"--seconds must be from 0.1 to 600, got {args.seconds:g}")
    check_free(args.out, OUTPUTS, args.force)
    import torch
    from tqdm import tqdm

    from toolkit.inference import find_device

    configs = args.configs or [f"audio/{name}" for name in NETWORKS]
    device = find_device(args.device)
    for config in configs:
        build(config)
    torch.set_num_threads(args.threads)
    with tqdm(total=len(configs) * (args.repeats + 2), unit="round", disable=None, file=sys.stderr) as progress:
        rows = [measure(config, args, device, progress) for config in configs]
    report(rows, args, device)
    return 0 if all(row.is_equal for row in rows) else 1


def build(config: str) -> "nn.Module":
    """The network of a config, with random weights.

    Raises:
        UserError: it is no audio network.
    """
    import torch
    from mmengine.registry import MODELS

    import toolkit  # noqa: F401  files the names
    from toolkit.config import load_config
    from toolkit.timing import enliven

    model = load_config(config).get("model", {})
    if model.get("type") != "AudioModel":
        raise UserError(f"{config}: model.type is {model.get('type')!r}; give configs of 'AudioModel'")
    torch.manual_seed(0)
    network = MODELS.build(model.network)
    enliven(network)
    return network.eval().requires_grad_(False)


def recording(network: "nn.Module", seconds: float, device: "torch.device") -> list["Tensor"]:
    """(1, T) of noise for each input of a network."""
    import torch

    generator = torch.Generator().manual_seed(1)
    length = round(seconds * network.sample_rate)
    return [0.1 * torch.randn(1, length, generator=generator).to(device) for _ in network.inputs]


def measure(config: str, args: argparse.Namespace, device: "torch.device", progress) -> Row:
    """Time one network in both forms against each other."""
    from copy import deepcopy

    import torch

    from toolkit.deploy import deploy
    from toolkit.timing import count_macs, count_parameters, deviation, interleaved, ratio

    name = Path(config).stem
    progress.set_description(name)
    memory = apart(peak_memory, config, args.seconds, args.threads, str(device))
    progress.update()
    plain = build(config).to(device)
    deployed = deploy(deepcopy(plain))
    signals = recording(plain, args.seconds, device)
    with torch.inference_mode():
        calls = {"plain": lambda: plain(*signals), "deployed": lambda: deployed(*signals)}
        macs, off = count_macs(calls["plain"]), deviation(calls["deployed"](), calls["plain"]())
        progress.update()
        seconds = interleaved(calls, args.repeats, device, warmup=0, on_round=progress.update)
    return Row(
        name,
        args.seconds,
        plain.sample_rate,
        count_parameters(plain),
        macs,
        median(seconds["plain"]),
        median(seconds["deployed"]),
        ratio(seconds["deployed"], seconds["plain"]),
        off,
        memory,
    )


def peak_memory(config: str, seconds: float, threads: int, device_name: str) -> float | None:
    """MiB by which memory grows at most while a deployed network runs, for a process of its own."""
    import torch

    from toolkit.deploy import deploy
    from toolkit.timing import memory_growth

    torch.set_num_threads(threads)
    device = torch.device(device_name)
    network = deploy(build(config).to(device))
    signals = recording(network, seconds, device)
    with torch.inference_mode(), memory_growth(device) as growth:
        network(*signals)
    return growth[0] if growth else None


# ------------------------------------------------------------------------------------------------------------ output


def report(rows: list[Row], args: argparse.Namespace, device: "torch.device") -> None:
    """Print the table and write it, every figure and a plot to OUT."""
    import torch

    from toolkit.files import write_whole
    from toolkit.timing import describe_device

    caption = (
        f"{args.seconds:g} s of audio, float32, {describe_device(device, args.threads)}, torch {torch.__version__}; "
        f"medians of {args.repeats} interleaved rounds."
    )
    text = table(rows, caption)
    print(text)
    write_whole(text.encode(), args.out / "audio.md")
    names = [field.name for field in fields(Row)] + ["real_time_factor"]
    write_figures(args.out / "audio.csv", names, ([getattr(row, name) for name in names] for row in rows))
    plot(rows, caption, args.out / "audio.png")
    print("results: " + ", ".join(str(args.out / name) for name in OUTPUTS))


def table(rows: list[Row], caption: str) -> str:
    """The rows as Markdown."""
    head = ["network", "kHz", "params M", "GMACs", "plain s", "deployed s", "real-time factor", "equal (deviation)"]
    lines = [[*head, "memory MiB"], ["---"] + ["---:"] * len(head)]
    for row in rows:
        cells = [row.name, f"{row.sample_rate / 1000:g}", f"{row.params / 1e6:.2f}", f"{row.macs / 1e9:.2f}"]
        cells += [f"{row.plain_s:.3f}", f"{row.deployed_s:.3f} ({row.ratio:.2f})", f"{row.real_time_factor:.3f}"]
        cells.append(f"{'yes' if row.is_equal else 'NO'} ({row.deviation:.0e})")
        cells.append("-" if row.memory is None else f"{row.memory:.0f}")
        lines.append(cells)
    notes = (
        f"{caption}\nIn brackets the ratio to plain. Real-time factor: seconds of work for a second of audio, deployed."
        "\nGMACs: multiply-adds of convolutions, linear layers and matrix products (not of GRUs), half of torch's "
        "FlopCounterMode.\nEqual: no output of the deployed network deviates by more than "
        f"{TOLERANCE:g} of its spread. Memory: growth of the process while the deployed network runs first."
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{notes}\n"


def plot(rows: list[Row], caption: str, path: Path) -> None:
    """Seconds of work for a second of audio, plain and deployed, one line a network; real time marked."""
    from textwrap import fill

    with png_figure(path, 8, 1.6 + 0.55 * len(rows)) as figure:
        axes = figure.add_subplot()
        heights = range(len(rows))
        plain, deployed = [row.plain_s / row.seconds for row in rows], [row.real_time_factor for row in rows]
        axes.hlines(heights, plain, deployed, "0.7", zorder=0)
        axes.scatter(plain, heights, marker="o", color="tab:gray", label="plain")
        axes.scatter(deployed, heights, marker="s", color="tab:blue", label="deployed")
        for height, factor in zip(heights, deployed, strict=True):
            axes.annotate(f"{factor:.3g}", (factor, height), (0, 7), textcoords="offset points", ha="center")
        axes.axvline(1, color="tab:red", linestyle="--", label="real time")
        axes.set_xscale("log")
        axes.margins(0.12, 0.25)
        axes.set_yticks(heights, [row.name for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("seconds of work for a second of audio")
        axes.grid(alpha=0.3, axis="x")
        axes.legend()
        axes.set_title(fill(caption, 100), fontsize=8)
