"""Measure denoisers on your own speech and noise: SI-SDR improvement at several noise levels, side by side."""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from toolkit.commands._shared import add_options, check_out, write_figures

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """examples:
  python tools/compare_denoisers.py --speech my_speech --noise my_noise
  python tools/compare_denoisers.py --speech my_speech --noise my_noise --only-noise 'city|bike' -o figures.csv
  python tools/compare_denoisers.py --speech my_speech --noise my_noise --model best.pth --without rnnoise

Every speech file is mixed with every noise file at every level, the ratio of the mean powers of both over the whole
file. Noise starts at a place fixed by the names and is repeated where it is too short. All goes to 16 kHz; a level of
"clean" has no noise, and its column shows the SI-SDR of the output itself. RNNoise needs pip install pyrnnoise (it
works at 48 kHz and gets resampled audio), noisereduce pip install noisereduce; what is not installed is left out. Each
output is moved to where it fits the clean speech best, within 50 ms, before it is measured.
"""

RATE = 16000
Denoiser = Callable[["np.ndarray"], "np.ndarray"]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", required=True, metavar="DIR", help="folder of clean speech")
    parser.add_argument("--noise", required=True, metavar="DIR", help="folder of noise")
    parser.add_argument("--only-speech", metavar="REGEX", help="only speech files whose name has this in it")
    parser.add_argument("--only-noise", metavar="REGEX", help="only noise files whose name has this in it")
    parser.add_argument(
        "--levels", nargs="+", type=float, default=[-5, 0, 5, 10], metavar="DB", help="default: -5 0 5 10"
    )
    parser.add_argument("--model", action="append", metavar="MODEL", help="a checkpoint; default: the shipped denoiser")
    parser.add_argument("--without", nargs="+", default=[], choices=("rnnoise", "noisereduce"), help="leave these out")
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_out(args)
    import numpy as np
    from tqdm import tqdm

    from toolkit.audio.datasets import find_audio, read_whole

    speech = find_audio(args.speech, args.only_speech)
    noise = find_audio(args.noise, args.only_noise)
    denoisers = find_denoisers(args.model, args.without)
    rows, seconds, spent = [], 0.0, dict.fromkeys(denoisers, 0.0)
    for path in tqdm(speech, unit="file", disable=None, file=sys.stderr):
        clean = read_whole(path, RATE)
        cases = [(None, "clean", clean)]
        for noise_path in noise:
            added = stretch_from(read_whole(noise_path, RATE), len(clean), f"{path.name} {noise_path.name}")
            for level in args.levels:
                gain = np.sqrt(np.mean(clean**2) / max(np.mean(added**2), 1e-20)) * 10 ** (-level / 20)
                cases.append((noise_path, level, clean + gain * added))
        for noise_path, level, mixture in cases:
            mixture = (mixture * (0.5 / max(np.abs(mixture).max(), 1e-9))).astype(np.float32)
            before = measure(mixture, clean)
            seconds += len(mixture) / RATE
            for name, denoiser in denoisers.items():
                began = process_time()
                after = measure(denoiser(mixture), clean)
                spent[name] += process_time() - began
                gained = after if noise_path is None else after - before
                rows.append((name, path.name, noise_path.name if noise_path else "", level, before, gained))
    print(table(rows, args.levels, {name: time / seconds for name, time in spent.items()}))
    print(f"{len(speech)} speech files, {len(noise)} noises: {', '.join(path.stem for path in noise)}")
    if args.out:
        head = ("denoiser", "speech", "noise", "level", "si_sdr_before", "improvement_or_si_sdr_of_clean")
        write_figures(args.out, head, ((*row[:4], f"{row[4]:.3f}", f"{row[5]:.3f}") for row in rows))
    return 0


def stretch_from(noise: "np.ndarray", length: int, name: str) -> "np.ndarray":
    """`length` samples of `noise` from a place that `name` fixes, repeated where it ends."""
    import zlib

    import numpy as np

    start = zlib.crc32(name.encode()) % len(noise)
    return np.resize(np.roll(noise, -start), length)


def measure(estimate: "np.ndarray", clean: "np.ndarray", reach: int = RATE // 20) -> float:
    """SI-SDR in dB after the shift, by at most `reach` samples, that fits best."""
    import numpy as np
    import torch
    from scipy.signal import correlate

    from toolkit.audio.losses import si_sdr

    estimate = np.pad(estimate[: len(clean)], (0, max(0, len(clean) - len(estimate))))
    first = max(0, len(clean) - 1 - reach)  # place len(clean) - 1 is a delay of 0
    fit = correlate(estimate, clean, method="fft")[first : len(clean) + reach]
    late = first + int(fit.argmax()) - (len(clean) - 1)
    moved = estimate[max(0, late) : len(estimate) + min(0, late)]
    fixed = clean[max(0, -late) : len(clean) - max(0, late)]
    return float(si_sdr(torch.from_numpy(moved), torch.from_numpy(fixed)))


def find_denoisers(models: list[str] | None, without: list[str]) -> dict[str, Denoiser]:
    """By name, in order: functions from (T,) to (T,) at 16 kHz."""
    from toolkit.commands.denoise import SHIPPED
    from toolkit.inference import load_model

    found: dict[str, Denoiser] = {}
    for model in models or [str(SHIPPED)]:
        processor = load_model(model)
        found[Path(model).stem] = lambda wav, p=processor: p.predict(wav, sample_rate=RATE)[p.outputs[0]]
    for name, makers in (("rnnoise", {"rnnoise": rnnoise}), ("noisereduce", NOISEREDUCE)):
        if name in without:
            continue
        try:
            import_module("pyrnnoise" if name == "rnnoise" else name)
        except ImportError:
            print(f"{name} is not installed and left out", file=sys.stderr)
            continue
        found.update(makers)
    return found


def rnnoise(wav: "np.ndarray") -> "np.ndarray":
    """RNNoise at its 48 kHz, fed 16-bit samples."""
    import numpy as np
    import soxr
    from pyrnnoise import RNNoise

    high = np.clip(soxr.resample(wav, RATE, 48000), -1, 1)
    frames = RNNoise(48000).denoise_chunk((high * 32767).round().astype(np.int16)[None], partial=True)
    done = np.concatenate([frame for _, frame in frames], axis=1)[0]
    return soxr.resample(done.astype(np.float32) / 32768, 48000, RATE)


def spectral_gate(wav: "np.ndarray", stationary: bool) -> "np.ndarray":
    import noisereduce

    return noisereduce.reduce_noise(y=wav, sr=RATE, stationary=stationary)


NOISEREDUCE: dict[str, Denoiser] = {
    "noisereduce, stationary": lambda wav: spectral_gate(wav, True),
    "noisereduce": lambda wav: spectral_gate(wav, False),
}


def table(rows: list[tuple], levels: list[float], factors: dict[str, float]) -> str:
    """Means in Markdown."""
    import numpy as np

    head = ["SI-SDR improvement dB", *(f"{level:g} dB" for level in levels), "clean comes out at", "CPU s / s"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name, factor in factors.items():
        means = [np.mean([row[5] for row in rows if row[0] == name and row[3] == level]) for level in levels]
        clean = np.mean([row[5] for row in rows if row[0] == name and row[3] == "clean"])
        lines.append([name, *(f"{mean:+.2f}" for mean in means), f"{clean:.1f} dB", f"{factor:.3f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
