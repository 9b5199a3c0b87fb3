"""What the three audio commands have in common: their options, inputs, outputs and reports."""

import argparse
import glob
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.audio.inferencer import AudioProcessor, Processed

NOTES = """
Any sample rate and number of channels go in; the output has the same rate, channels, length to the sample, coding
(16 bits stay 16 bits) and level, and never clips: it is turned down smoothly around peaks above full scale. What lies
above the network's own band is carried on with the gain that the network gave to the top of its band. Every channel
goes through the network by itself. Files of any length take constant memory. wav, flac, ogg, mp3 and aiff are read;
convert others with ffmpeg. "-" as input or output is a pipe of raw PCM (--rate, --channels, --format), without a
header; a causal network answers late by its window at its own rate (the shipped denoiser 64 ms at 16 kHz, the shipped
echo canceller 32 ms at 8 kHz), up to 0.35 s at another. Exit code 1 when some files of several could not be done; the
others are done all the same.
"""


@dataclass(frozen=True)
class Job:
    """One recording, what belongs to it, and where its result goes."""

    source: Path
    out: Path
    reference: Path | None = None


def add_options(parser: argparse.ArgumentParser, clean: str, cleans: int | str = 1) -> None:
    """The options that all three commands have. `clean` says what --metrics takes, `cleans` how many (nargs)."""
    parser.add_argument(
        "-o", "--out", required=True, help='the file for the result; a folder for several inputs; "-" for a pipe'
    )
    parser.add_argument("--force", action="store_true", help="overwrite results that exist")
    parser.add_argument("--model", help="a config file, the name of a shipped config, or one of our checkpoints")
    parser.add_argument("--checkpoint", help="its weights: ours, or the authors' own")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: a GPU where there is one)")
    parser.add_argument(
        "--mix", type=float, default=0.0, help="share of the input in the output, in step, 0 to 1 (default: 0)"
    )
    parser.add_argument("--max-attenuation-db", type=float, metavar="DB", help="turn nothing down by more than this")
    parser.add_argument(
        "--plot", nargs="?", const="", metavar="PNG",
        help="draw spectrograms before and after (default name: the result's with .png)",
    )  # fmt: skip
    parser.add_argument("--metrics", nargs=cleans, metavar="CLEAN", help=clean)
    parser.add_argument("--rate", type=int, default=16000, help="of a pipe, in Hz (default: 16000)")
    parser.add_argument("--channels", type=int, help="of a pipe")
    parser.add_argument(
        "--format", default="s16le", choices=("s16le", "s32le", "f32le"), help="of a pipe (default: s16le)"
    )
    parser.add_argument(
        "--unsafe-checkpoint", action="store_true", help="load a checkpoint with code; trusted files only"
    )


def build_parser(description: str, examples: str, clean: str, cleans: int | str = 1) -> argparse.ArgumentParser:
    """The options of a command whose inputs each are a recording by itself; see `add_options`."""
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="sound files, folders, globs, or - for a pipe")
    add_options(parser, clean, cleans)
    return parser


def work_on_inputs(
    args: argparse.Namespace, usage: Callable[["AudioProcessor"], str | None], shipped: Path | None, hint: str = ""
) -> int:
    """What a command with the options of `build_parser` does; the exit code. For the arguments see `load`."""
    piped = "-" in args.inputs or args.out == "-"
    if piped and len(args.inputs) > 1:
        raise UserError("a pipe goes with one input only")
    jobs = [] if piped else find_jobs(args.inputs, args.out)
    processor = load(args, usage, shipped, hint)
    check_outputs(jobs, args, processor.outputs)
    return pipe(processor, args.inputs[0], args) if piped else work(processor, jobs, args)


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Arguments, checked as far as they go without the inputs."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for place, word in enumerate(argv):  # so that a name of an input after a bare --plot stays one
        if word == "--plot" and not (place + 1 < len(argv) and argv[place + 1].lower().endswith(".png")):
            argv[place] = "--plot="
    args = parser.parse_intermixed_args(argv)
    if not 0 <= args.mix <= 1:
        raise UserError(f"--mix {args.mix}: give a share from 0 to 1")
    if args.max_attenuation_db is not None and not args.max_attenuation_db >= 0:
        raise UserError(f"--max-attenuation-db {args.max_attenuation_db}: give 0 or more")
    if args.rate < 1 or (args.channels is not None and args.channels < 1):
        raise UserError("--rate and --channels: give at least 1")
    return args


def load(
    args: argparse.Namespace, usage: Callable[["AudioProcessor"], str | None], shipped: Path | None, hint: str = ""
) -> "AudioProcessor":
    """The network that the options name.

    Args:
        args: of the command.
        usage: says what is wrong with a network for this command; None when nothing is.
        shipped: the checkpoint for neither --model nor --checkpoint.
        hint: what to say where none is shipped.
    """
    model, checkpoint = args.model, args.checkpoint
    if model is None and checkpoint is None:
        if shipped is None:
            raise UserError(hint)
        if not shipped.is_file():
            raise UserError(f"the shipped weights are not at {shipped}; give --checkpoint FILE")
        checkpoint = str(shipped)
    from toolkit.inference import is_checkpoint, load_model

    if checkpoint is None and not is_checkpoint(model):
        raise UserError(f"--model {model} has no weights by itself; give them with --checkpoint FILE")
    from toolkit.audio.inferencer import AudioProcessor

    first, second = (checkpoint, None) if model is None else (model, checkpoint)
    processor = load_model(first, second, args.device, args.unsafe_checkpoint)
    wrong = "it does not work on sound" if not isinstance(processor, AudioProcessor) else usage(processor)
    if wrong:
        raise UserError(f"{model or checkpoint} does not fit this command: {wrong}")
    return processor


def find_jobs(names: list[str], out: str) -> list[Job]:
    """Every input file once, with a place for its result below (or at) `out`.

    Raises:
        UserError: an input does not exist, or two results would have one name.
    """
    expanded = [_expand(name, out) for name in names]
    files = list(dict.fromkeys(os.path.abspath(file) for _, found in expanded for file in found))
    target = Path(out).expanduser()
    single = len(files) == 1 and not Path(names[0]).expanduser().is_dir()
    if single and not target.is_dir() and not out.endswith(("/", os.sep)) and target.suffix:
        return [Job(Path(expanded[0][1][0]), target)]
    if target.exists() and not target.is_dir():
        raise UserError(f"{out} is a file; give a folder for several results")
    root = os.path.commonpath([os.path.abspath(folder) for folder, _ in expanded])
    return [Job(Path(file), target / os.path.relpath(file, root)) for file in files]


def _expand(name: str, out: str) -> tuple[Path, list[Path]]:
    """(folder that results are named from, files) of one input argument."""
    from toolkit.audio.files import FOREIGN, FORMATS

    path = Path(name).expanduser()
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in (*FORMATS, *FOREIGN)]
        place = Path(out).expanduser().resolve()
        if place != path.resolve():  # results of an earlier run are no inputs
            found = [file for file in found if not file.resolve().is_relative_to(place)]
        if not found:
            raise UserError(f"{name} holds no sound files")
        return path, found
    if not path.exists() and glob.has_magic(name):
        found = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
        if not found:
            raise UserError(f"{name} matches no files")
        return Path(os.path.commonpath([os.path.abspath(file.parent) for file in found])), found
    if not path.exists():
        raise UserError(f"{name} does not exist")
    return path.parent, [path]


def check_outputs(jobs: list[Job], args: argparse.Namespace, outputs: tuple[str, ...]) -> None:
    """See to it that nothing is overwritten unasked, and no input ever.

    Raises:
        UserError: it would be.
    """
    from toolkit.audio.files import coding_for
    from toolkit.audio.inferencer import output_paths

    inputs = {path.resolve() for job in jobs for path in (job.source, job.reference) if path is not None}
    taken: set[Path] = set()
    for job in jobs:
        for path in output_paths(job.out, outputs):
            if len(jobs) == 1:
                coding_for(path, 0, 1)  # an ending that nothing is written in
            place = path.resolve()
            if place in inputs:
                raise UserError(f"{path} is an input; give another name or folder for the results")
            if place in taken:
                raise UserError(f"two results would be {path}; work on them one by one")
            if path.exists() and not args.force:
                raise UserError(f"{path} exists; --force overwrites it")
            taken.add(place)
        drawn = _plot_path(job, args)
        if drawn is not None and drawn.exists() and not args.force:
            raise UserError(f"{drawn} exists; --force overwrites it")
    if args.plot and len(jobs) > 1:
        raise UserError("--plot with a name is for one input; without, each picture lies beside its result")


def _plot_path(job: Job, args: argparse.Namespace) -> Path | None:
    if args.plot is None:
        return None
    return Path(args.plot).expanduser() if args.plot else job.out.with_suffix(".png")


def stop_cleanly() -> None:
    """Let a termination end a command as Ctrl-C does, so that no unfinished file stays behind."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def work(processor: "AudioProcessor", jobs: list[Job], args: argparse.Namespace, **options: Any) -> int:
    """Work through `jobs`; the exit code. A file that cannot be done is listed at the end, the others are done."""
    if args.metrics:
        _check_metrics(jobs, args)
    stop_cleanly()
    broken = []
    for job in jobs:
        try:
            done = _one(processor, job, args, options)
            _report(job, done)
            if args.plot is not None:
                _plot(job, done, args)
            if args.metrics:
                print(_score(job, done, args, processor.outputs))
        except (UserError, OSError) as error:
            if len(jobs) == 1:
                raise
            text = str(error) if isinstance(error, UserError) else f"{error.filename}: {error.strerror}"
            broken.append(" ".join(text.split()))
    if broken:
        lines = "\n".join(f"  {line}" for line in broken)
        print(f"{len(broken)} of {len(jobs)} files could not be done:\n{lines}", file=sys.stderr)
    return 1 if broken else 0


def _one(processor: "AudioProcessor", job: Job, args: argparse.Namespace, options: dict[str, Any]) -> "Processed":
    from tqdm import tqdm

    from toolkit.audio.files import SoundReader

    with SoundReader(job.source) as reader:
        seconds = reader.seconds
    form = "{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}{postfix}]"
    with tqdm(total=seconds, desc=job.source.name, bar_format=form, disable=None, file=sys.stderr) as bar:

        def show(done: float) -> None:
            bar.update(min(done, seconds) - bar.n)
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(f"real-time factor {elapsed / max(done, 1e-9):.3f}", refresh=False)

        return processor.process_file(
            job.source, job.out, job.reference, args.mix, args.max_attenuation_db, on_progress=show, **options
        )


def _report(job: Job, done: "Processed") -> None:
    names = ", ".join(map(str, done.paths))
    print(
        f"{job.source} -> {names}: {done.seconds:.1f} s of audio in {done.took:.1f} s "
        f"(real-time factor {done.real_time_factor:.3f})"
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)


def _plot(job: Job, done: "Processed", args: argparse.Namespace) -> None:
    from toolkit.audio.plot import draw_spectrograms

    path = _plot_path(job, args)
    titles = ["before", *(["after"] if len(done.paths) == 1 else [place.name for place in done.paths])]
    draw_spectrograms(titles, [job.source, *done.paths], path)
    print(f"spectrograms: {path}")


def _check_metrics(jobs: list[Job], args: argparse.Namespace) -> None:
    """See to it, before the work, that its results can be measured."""
    from toolkit.audio.scores import need

    missing = next((path for job in jobs for path in _cleans(job, args) if not path.is_file()), None)
    if missing is not None:
        raise UserError(f"--metrics: {missing} does not exist")
    need("pesq")
    need("pystoi")


def _cleans(job: Job, args: argparse.Namespace) -> list[Path]:
    """The clean files of a job: those given, or where folders were given, the ones of its name in them."""
    found = []
    for name in args.metrics:
        path = Path(name).expanduser()
        found.append(path / job.source.name if path.is_dir() else path)
    return found


def _score(job: Job, done: "Processed", args: argparse.Namespace, outputs: tuple[str, ...]) -> str:
    """A table of the measures before and after."""
    from toolkit.audio.files import read_sound
    from toolkit.audio.resampling import resample
    from toolkit.audio.scores import best_order, scores

    before, rate = read_sound(job.source)
    cleans = []
    for path in _cleans(job, args):
        clean, clean_rate = read_sound(path)
        cleans.append(resample(clean, clean_rate, rate))
    estimates = [read_sound(path)[0] for path in done.paths]
    if len(cleans) > len(outputs):
        raise UserError(f"--metrics: {len(cleans)} clean files, but the results are {', '.join(outputs)}")
    lines = [f"{'':<22}{'before':>9}{'after':>9}{'change':>9}"]
    for number, clean in zip(best_order(estimates, cleans), cleans, strict=True):
        old, new = scores(before, clean, rate), scores(estimates[number], clean, rate)
        label = "" if len(outputs) == 1 else f"{outputs[number]} "
        for name, value in new.items():
            lines.append(f"{label + name:<22}{_number(old[name])}{_number(value)}{_number(value - old[name], '+')}")
    return "\n".join(lines)


def _number(value: float, sign: str = "") -> str:
    return f"{'-':>9}" if math.isnan(value) else f"{value:>{sign}9.2f}"


def pipe(processor: "AudioProcessor", source: str, args: argparse.Namespace) -> int:
    """Work from or to a pipe; the exit code."""
    from toolkit.audio.files import SoundReader
    from toolkit.audio.raw import RawReader, RawWriter

    if args.metrics or args.plot is not None:
        raise UserError("--metrics and --plot are for files, not for pipes")
    if args.out == "-" and len(processor.outputs) > 1:
        raise UserError(f"-o -: a pipe has room for one result, here are {', '.join(processor.outputs)}; give a file")
    stop_cleanly()
    outgoing: BinaryIO = sys.stdout.buffer
    options = (args.mix, args.max_attenuation_db)
    try:
        if source == "-":
            further = len(processor.inputs) - 1
            channels = (args.channels or 1 + further) if further else args.channels or 1
            if channels <= further:
                raise UserError(f"--channels {channels}: at least {1 + further} for {', '.join(processor.inputs)}")
            reader = RawReader(sys.stdin.buffer, args.rate, channels, args.format)
            out = RawWriter(outgoing, args.format) if args.out == "-" else Path(args.out)
            if args.out != "-":
                check_outputs([Job(Path("-"), Path(args.out))], args, processor.outputs)
            done = processor.process_stream(reader, out, *options)
        else:
            with SoundReader(source) as file:
                print(f"output: {args.format}, {file.sample_rate} Hz, {file.channels} channels", file=sys.stderr)
            done = processor.process_to(source, RawWriter(outgoing, args.format), *options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; let Python close in peace
        return 0
    print(
        f"{done.seconds:.1f} s of audio in {done.took:.1f} s (real-time factor {done.real_time_factor:.3f})",
        file=sys.stderr,
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
