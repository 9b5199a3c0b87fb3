"""Measure echo cancellers on simulated echo of your own speech: ERLE, SI-SDR, PESQ and STOI, side by side."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from toolkit.commands._shared import add_options, check_out, write_figures
from toolkit.commands.cancel_echo import SHIPPED
from toolkit.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from toolkit.audio.inferencer import AudioProcessor

EXAMPLES = """examples:
  python tools/compare_cancellers.py --speech my_speech --noise my_noise
  python tools/compare_cancellers.py --speech my_speech --noise my_noise --echo-ratio -5 --reverberation 0.2 0.5
  python tools/compare_cancellers.py --speech speech_mix spoken_digits --noise noise \\
      --only-speech 'item2[4578]_source|_lucas_' --speaker '(item[0-9]+_source.|lucas)' --only-noise 'wind|fireplace'

Echo is simulated from speech, noise, random rooms, delays up to 50 ms and loudspeakers of which a half distort, as in
training; the folders should hold what the network was not trained on. Far: the far end talks alone, ERLE says by how
many dB the microphone gets quieter. Near: the near end alone. Double: both at once, at --echo-ratio. All is measured
after --warm-up seconds, in which an adaptive filter settles. SpeexDSP, by itself and with its suppressor of residual
echo and noise, needs pip install pyaec (toolkit[compare-cancellers] has it, with PESQ and STOI); where it is not
installed it is left out. SpeexDSP cuts low frequencies (below about 130 Hz at 8 kHz) and turns their phases, which
SI-SDR would count as distortion: its output is compared with near speech that went through the same cut.
"""

COLUMNS = {
    "far_erle": "far: ERLE dB",
    "near_si_sdr": "near: SI-SDR dB",
    "near_pesq": "near: PESQ",
    "near_stoi": "near: STOI",
    "double_si_sdr": "double: SI-SDR dB",
    "double_si_sdr_improvement": "double: improvement dB",
    "double_pesq": "double: PESQ",
    "double_stoi": "double: STOI",
}
Canceller = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]  # microphone and reference (T,) -> (T,)
Target = Callable[["np.ndarray"], "np.ndarray"]  # near speech (T,) -> what the canceller should give (T,)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", required=True, nargs="+", metavar="DIR", help="folders of clean speech")
    parser.add_argument("--noise", required=True, metavar="DIR", help="folder of noise")
    parser.add_argument("--only-speech", metavar="REGEX", help="only speech files whose name has this in it")
    parser.add_argument("--only-noise", metavar="REGEX", help="only noise files whose name has this in it")
    parser.add_argument("--speaker", metavar="REGEX", help="its group names the speaker (default: one a file)")
    parser.add_argument("--count", type=int, default=20, help="recordings of each kind (default: 20)")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a recording (default: 12)")
    parser.add_argument("--warm-up", type=float, default=4.0, metavar="S", help="unmeasured start (default: 4)")
    parser.add_argument(
        "--echo-ratio", type=float, default=0.0, metavar="DB", help="near speech over echo in double talk (default: 0)"
    )
    parser.add_argument(
        "--noise-ratio", nargs=2, type=float, default=(20.0, 30.0), metavar="DB",
        help="speech over noise, between two values (default: 20 30)",
    )  # fmt: skip
    parser.add_argument(
        "--reverberation", nargs=2, type=float, default=(0.1, 0.4), metavar="S",
        help="T60 of the rooms, between two values (default: 0.1 0.4)",
    )  # fmt: skip
    parser.add_argument("--model", action="append", metavar="MODEL", help="a checkpoint; default: the shipped one")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default: 0)")
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_out(args)
    if not 0 <= args.warm_up <= args.seconds - 1:
        raise UserError(f"--warm-up {args.warm_up}: give 0 or more, and at least 1 s less than --seconds")
    if args.count < 1:
        raise UserError(f"--count {args.count}: give at least 1")
    from tqdm import tqdm

    from toolkit.audio.echo import SCENARIOS, EchoDataset

    cancellers, rate = find_cancellers(args.model)
    recordings = EchoDataset(
        speech=[dict(path=path, speaker=args.speaker, only=args.only_speech) for path in args.speech],
        noise=dict(path=args.noise, only=args.only_noise),
        length=len(SCENARIOS) * args.count,
        seconds=args.seconds,
        sample_rate=rate,
        echo_ratio=(args.echo_ratio, args.echo_ratio),
        noise_ratio=tuple(args.noise_ratio),
        delay=(0.0, 0.05),
        reverberation=tuple(args.reverberation),
        rooms=args.count,
        seed=args.seed,
    )
    rows, spent = [], dict.fromkeys(cancellers, 0.0)
    for number in tqdm(range(len(recordings)), unit="recording", disable=None, file=sys.stderr):
        recording = recordings[number]
        microphone, reference = recording["inputs"].numpy()
        for name, (canceller, target) in cancellers.items():
            began = process_time()
            estimate = canceller(microphone, reference)
            spent[name] += process_time() - began
            rows += [(name, number, *figure) for figure in measure(recording, estimate, target, args.warm_up, rate)]
    seconds = len(recordings) * args.seconds
    print(table(rows, {name: time / seconds for name, time in spent.items()}))
    print(f"\n{args.count} recordings of each kind, {args.seconds:g} s at {rate} Hz; measured after {args.warm_up:g} s")
    if args.out:
        head = ("canceller", "recording", "measure", "value")
        write_figures(args.out, head, ((*row[:3], f"{row[3]:.4f}") for row in rows))
    return 0


def find_cancellers(models: list[str] | None) -> tuple[dict[str, tuple[Canceller, Target]], int]:
    """Cancellers by name, in order, with what they should give; and the rate that they work at, in Hz.

    Raises:
        UserError: a model is no echo canceller, or the models work at different rates.
    """
    from importlib.util import find_spec

    from toolkit.audio.speex import cancel_echo
    from toolkit.inference import load_model

    processors = {Path(model).stem: load_model(model) for model in models or [str(SHIPPED)]}
    rates = {processor.sample_rate for processor in processors.values()}
    if len(rates) > 1:
        raise UserError(
            f"--model: the models work at {', '.join(map(str, sorted(rates)))} Hz; compare those of one rate"
        )
    rate = rates.pop()
    found: dict[str, tuple[Canceller, Target]] = {"unprocessed": (lambda mic, ref: mic, same)}
    if find_spec("pyaec"):

        def cut(near: "np.ndarray") -> "np.ndarray":
            return cancel_echo(near, 0 * near, rate, suppress=False)

        found["SpeexDSP, filter alone"] = (lambda mic, ref: cancel_echo(mic, ref, rate, suppress=False)), cut
        found["SpeexDSP"] = (lambda mic, ref: cancel_echo(mic, ref, rate)), cut
    else:
        print("pyaec is not installed and SpeexDSP left out", file=sys.stderr)
    for name, processor in processors.items():
        if tuple(processor.inputs) != ("microphone", "reference"):
            raise UserError(f"{name} takes {', '.join(processor.inputs)}: it is no echo canceller")
        found[name] = (lambda mic, ref, processor=processor: run(processor, mic, ref)), same
    return found, rate


def same(near: "np.ndarray") -> "np.ndarray":
    return near


def run(processor: "AudioProcessor", microphone: "np.ndarray", reference: "np.ndarray") -> "np.ndarray":
    """The network's first output."""
    import torch

    with torch.inference_mode():
        signals = (torch.from_numpy(signal)[None].to(processor.device) for signal in (microphone, reference))
        return processor.network(*signals)[0, 0].cpu().numpy()


def measure(
    recording: dict, estimate: "np.ndarray", target: Target, warm_up: float, rate: int
) -> list[tuple[str, float]]:
    """Names and values of the measures of one output (T,)."""
    import torch

    from toolkit.audio.echo_scores import scenario_of, score
    from toolkit.audio.losses import si_sdr

    kind, skip = scenario_of(recording["targets"]), round(warm_up * rate)
    microphone, speech = recording["inputs"][0, skip:], recording["targets"][0]
    wanted = torch.from_numpy(target(speech.numpy()))[skip:]
    figures = score(microphone, wanted, torch.from_numpy(estimate)[skip:], kind, rate)
    if kind != "far":  # what it gains on the microphone as it is
        figures[f"{kind}_si_sdr_improvement"] = figures[f"{kind}_si_sdr"] - float(si_sdr(microphone, speech[skip:]))
    return list(figures.items())


def table(rows: list[tuple], factors: dict[str, float]) -> str:
    """Means in Markdown."""
    import numpy as np

    there = [name for name in COLUMNS if any(row[2] == name for row in rows)]
    head = ["canceller", *(COLUMNS[name] for name in there), "CPU s / s"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for canceller, factor in factors.items():
        values = [np.array([row[3] for row in rows if row[0] == canceller and row[2] == name]) for name in there]
        cells = [f"{value[~np.isnan(value)].mean():.2f}" if not np.isnan(value).all() else "-" for value in values]
        lines.append([canceller, *cells, f"{factor:.3f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
