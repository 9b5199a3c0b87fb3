"""Measure models and modules beside each other: accuracy, parameters, multiply-adds, time, memory."""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from toolkit.commands import _benchmark_audio, _benchmark_backbones, _benchmark_modules, _benchmark_sfm
from toolkit.commands._shared import add_timing_options, apart, check_free, check_least, write_figures
from toolkit.errors import UserError
from toolkit.files import write_whole
from toolkit.plots import png_figure

if TYPE_CHECKING:
    import torch
    from torch import nn

EXAMPLES = """examples:
  python tools/benchmark.py detection
  python tools/benchmark.py detection yolo_ms_300e_coco mmdet::yolox/yolox_s_8xb8-300e_coco.py -o out --threads 2
  python tools/benchmark.py detection --size 320 --repeats 30 --skip-compile -o out --force
  python tools/benchmark.py backbones HorNet LSNet --sizes 224 640 --deploy
  python tools/benchmark.py modules ECA scSE --networks resnet18
  python tools/benchmark.py sfm my_pictures
  python tools/benchmark.py audio --seconds 16
"""

DETECTION_EXAMPLES = """examples:
  python tools/benchmark.py detection
  python tools/benchmark.py detection my_config.py yolo_ms_s_300e_coco --device cuda --size 1280 -o out

Without CONFIG: YOLO-MS-XS and -S, YOLOv8-MS-N, and mmdet's RTMDet-tiny. Weights are random, for time does not depend on
them. What is timed is the network from the normalised picture to the raw maps of the head: no reading, resizing,
decoding or NMS. OUT gets detection.csv, detection.md and detection.png.

  eager          as it is trained
  channels-last  the same, memory in channels-last order
  deploy         after toolkit.deploy.deploy: batch norms folded, and on a CPU the fastest kernels
  compiled       torch.compile of the deployed network, which takes a C++ compiler on a CPU and Triton on a GPU

Each round runs all four once, so that a drifting machine drifts for all; ms are medians of the rounds, ratios
medians of the rounds' own ratios to eager. On a machine with other work trust the ratios only.
"""

DETECTORS = (
    "yolo_ms_xs_300e_coco",
    "yolo_ms_s_300e_coco",
    "yolov8_ms_n_500e_coco",
    "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
)
TOLERANCE = 1e-4
OUTPUTS = ("detection.csv", "detection.md", "detection.png")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    detection = commands.add_parser(
        "detection",
        help="detectors: backbone, neck and head",
        description="Time detectors beside each other.",
        epilog=DETECTION_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    detection.add_argument("configs", nargs="*", metavar="CONFIG", help="config files or shipped names")
    add_timing_options(detection, "work_dirs/benchmark", repeats=10)
    detection.add_argument("--size", type=int, default=640, help="side of the picture in pixels (default: 640)")
    detection.add_argument("--skip-compile", action="store_true", help="leave out torch.compile, the slowest to start")
    detection.set_defaults(run=run_detection)
    _benchmark_audio.add_parser(commands)
    _benchmark_backbones.add_parser(commands)
    _benchmark_modules.add_parser(commands)
    _benchmark_sfm.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    return args.run(args)


# --------------------------------------------------------------------------------------------------------- detection


@dataclass
class Row:
    """What one model costs. Times in ms; memory in MiB; None for what was not measured."""

    name: str
    config: str
    params: int
    macs: int
    eager_ms: float
    channels_last_ms: float
    channels_last_ratio: float
    deploy_ms: float
    deploy_ratio: float
    compiled_ms: float | None
    compiled_ratio: float | None
    deviation: float
    equal: bool
    eager_memory: float | None
    deploy_memory: float | None


def run_detection(args: argparse.Namespace) -> int:
    """`benchmark.py detection`; exit code 1 when a deployed model gives other outputs."""
    check_least(args, size=32, threads=1, repeats=1)
    if args.size % 32:
        raise UserError(f"--size {args.size}: give a multiple of 32")
    check_free(args.out, OUTPUTS, args.force)
    configs = args.configs or list(DETECTORS)

    import torch
    from tqdm import tqdm

    from toolkit.config import find_config
    from toolkit.inference import find_device

    for config in configs:
        find_config(config)
    device = find_device(args.device)
    torch.set_num_threads(args.threads)
    with tqdm(total=len(configs) * (args.repeats + 3), unit="round", disable=None, file=sys.stderr) as progress:
        rows = [measure(config, args, device, progress) for config in configs]
    caption = describe(args, device)
    text = table(rows, caption)
    write_csv(rows, args.out / "detection.csv")
    write_whole(text.encode(), args.out / "detection.md")
    plot(rows, caption, args.out / "detection.png")
    print(text)
    print("results: " + ", ".join(str(args.out / name) for name in OUTPUTS))
    return 0 if all(row.equal for row in rows) else 1


def short_name(config: str) -> str:
    """`yolo_ms_xs` of yolo_ms_xs_300e_coco: the name of the model without schedule and data set."""
    stem = re.split(r"[/\\]|::", config)[-1].removesuffix(".py")
    return re.sub(r"_(\d+xb\d+|\d+e_|\d+x_).*", "", stem)


def build(config: str, size: int, device: "torch.device") -> tuple["nn.Module", Callable[["nn.Module"], Any]]:
    """A detector with lively random weights, and the call that runs it on a random picture of `size` pixels."""
    import torch
    from mmdet.structures import DetDataSample

    from toolkit.inference import load_model
    from toolkit.timing import enliven

    torch.manual_seed(0)
    network = load_model(config, device=str(device)).network
    enliven(network)
    picture = torch.randn(1, 3, size, size, device=device)
    shape = dict(img_shape=(size, size), ori_shape=(size, size), batch_input_shape=(size, size), scale_factor=(1, 1))
    samples = [DetDataSample(metainfo=shape)]

    def call(model: "nn.Module") -> Any:
        with torch.inference_mode():
            return model(picture, samples, mode="tensor")

    return network, call


def measure(config: str, args: argparse.Namespace, device: "torch.device", progress: Any) -> Row:
    """Build one detector in all its forms and time them against each other."""
    from copy import deepcopy

    import torch

    from toolkit.deploy import deploy
    from toolkit.timing import count_macs, count_parameters, deviation, interleaved, ratio

    name = short_name(config)
    progress.set_description(name)
    memory = [apart(peak_memory, config, args.size, args.threads, str(device), form) for form in (False, True)]
    progress.update()
    network, call = build(config, args.size, device)
    params, macs = count_parameters(network), count_macs(lambda: call(network))
    models = {"eager": network, "channels_last": deepcopy(network).to(memory_format=torch.channels_last)}
    models["deploy"] = deploy(deepcopy(network))
    off = deviation(call(models["deploy"]), call(network))
    if not args.skip_compile:
        progress.set_description(f"{name}: compiling")
        compiled = compile_model(models["deploy"], call, progress)
        if compiled is not None:
            models["compiled"] = compiled
        progress.set_description(name)
    progress.update()
    calls = {variant: lambda model=model: call(model) for variant, model in models.items()}
    seconds = interleaved(calls, args.repeats, device, on_round=progress.update)
    torch.compiler.reset()  # the next model starts from nothing
    ms = {variant: 1000 * median(times) for variant, times in seconds.items()}
    ratios = {variant: ratio(times, seconds["eager"]) for variant, times in seconds.items()}
    return Row(
        name,
        config,
        params,
        macs,
        ms["eager"],
        ms["channels_last"],
        ratios["channels_last"],
        ms["deploy"],
        ratios["deploy"],
        ms.get("compiled"),
        ratios.get("compiled"),
        off,
        off <= TOLERANCE,
        *memory,
    )


def compile_model(model: "nn.Module", call: Callable[["nn.Module"], Any], progress: Any) -> "nn.Module | None":
    """`model` compiled with its weights frozen in, or None, with the reason on stderr, where that cannot be done."""
    import logging

    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of CUDA's tools without a GPU
    compiled = torch.compile(model, options={"freezing": True})
    try:
        call(compiled)
    except Exception as error:  # what a missing or broken compiler raises differs between systems and versions
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        progress.write(f"no torch.compile: {reason[:200]} (a CPU needs a C++ compiler, a GPU Triton)", file=sys.stderr)
        return None
    return compiled


def peak_memory(config: str, size: int, threads: int, device_name: str, deployed: bool) -> float | None:
    """MiB by which memory grows at most while a picture is run, for a process of its own."""
    import torch

    from toolkit.deploy import deploy
    from toolkit.timing import memory_growth

    torch.set_num_threads(threads)
    device = torch.device(device_name)
    network, call = build(config, size, device)
    if deployed:
        network = deploy(network)
    with memory_growth(device) as growth:
        call(network)
    return growth[0] if growth else None


# ------------------------------------------------------------------------------------------------------------ output


def describe(args: argparse.Namespace, device: "torch.device") -> str:
    """On what, and how, the numbers were measured."""
    import torch

    from toolkit.timing import describe_device

    place = describe_device(device, args.threads)
    return (
        f"One {args.size}x{args.size} picture, float32, {place}, torch {torch.__version__}; medians of {args.repeats} "
        "interleaved rounds. Backbone, neck and raw head outputs, without decoding and NMS."
    )


def table(rows: list[Row], caption: str) -> str:
    """The rows as Markdown."""
    compiled = any(row.compiled_ms is not None for row in rows)
    head = ["model", "params M", "GMACs", "eager ms", "channels-last ms", "deploy ms", *["compiled ms"] * compiled]
    head += ["equal (deviation)", "memory MiB, eager", "memory MiB, deploy"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        cells = [row.name, f"{row.params / 1e6:.2f}", f"{row.macs / 1e9:.2f}", f"{row.eager_ms:.1f}"]
        for ms, part in (
            (row.channels_last_ms, row.channels_last_ratio),
            (row.deploy_ms, row.deploy_ratio),
            *[(row.compiled_ms, row.compiled_ratio)] * compiled,
        ):
            cells.append("-" if ms is None else f"{ms:.1f} ({part:.2f})")
        cells.append(f"{'yes' if row.equal else 'NO'} ({row.deviation:.0e})")
        cells += ["-" if memory is None else f"{memory:.0f}" for memory in (row.eager_memory, row.deploy_memory)]
        lines.append(cells)
    notes = (
        f"{caption}\nIn brackets the ratio to eager. GMACs: multiply-adds of convolutions, linear layers and matrix "
        "products, half of torch's FlopCounterMode.\nEqual: no output of the deployed model deviates by more than "
        f"{TOLERANCE:g} of its spread. Memory: growth of the process while it runs its first picture."
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{notes}\n"


def write_csv(rows: list[Row], path: Path) -> None:
    """One line for each model; times in ms, memory in MiB, empty where not measured."""
    values = (astuple(row) for row in rows)
    figures = ([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in values)
    write_figures(path, [field.name for field in fields(Row)], figures)


def plot(rows: list[Row], caption: str, path: Path) -> None:
    """Milliseconds over multiply-adds, an arrow from the eager to the deployed time of each model."""
    from textwrap import fill

    with png_figure(path, 8, 5.6) as figure:
        axes = figure.add_subplot()
        gmacs = [row.macs / 1e9 for row in rows]
        styles = {"eager": ("o", "tab:gray"), "deploy": ("s", "tab:blue"), "compiled": ("^", "tab:orange")}
        for variant, (marker, colour) in styles.items():
            ms = [getattr(row, f"{variant}_ms") for row in rows]
            if any(ms):
                ms = [float("nan") if value is None else value for value in ms]
                axes.scatter(gmacs, ms, marker=marker, color=colour, s=45, label=variant, zorder=3)
        for x, row in zip(gmacs, rows, strict=True):
            ends = dict(xy=(x, row.deploy_ms), xytext=(x, row.eager_ms))
            axes.annotate(
                "", **ends, arrowprops=dict(arrowstyle="->", color="tab:blue", alpha=0.5, shrinkA=5, shrinkB=5)
            )
            label = f"{row.name}\n{row.params / 1e6:.1f} M, x{row.deploy_ratio:.2f}"
            axes.annotate(
                label, (x, row.eager_ms), (0, 8), textcoords="offset points", ha="center", va="bottom", fontsize=9
            )
        axes.margins(0.16, 0)
        axes.set_ylim(0, 1.25 * max(row.eager_ms for row in rows))
        axes.set_xlabel("multiply-adds (G)")
        axes.set_ylabel("ms per picture")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        axes.set_title(fill(caption, 110), fontsize=8)
