"""Take the noise out of recordings: files, folders, or a live stream on a pipe."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands._audio import NOTES, add_options, check_outputs, find_jobs, load, parse, pipe, work
from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.audio.inferencer import AudioProcessor

SHIPPED = Path(__file__).resolve().parents[1] / "audio" / "weights" / "denoiser.pth"
EXAMPLES = f"""examples:
  python tools/denoise.py noisy.wav -o clean.wav                        the network that comes with the toolkit
  python tools/denoise.py recordings/ -o denoised/                      a folder, mirrored
  python tools/denoise.py a.flac 'b/*.mp3' -o denoised/ --max-attenuation-db 20
  python tools/denoise.py noisy.wav -o clean.wav --plot --metrics studio.wav
  python tools/denoise.py noisy.wav -o clean.wav --model audio/frcrn_se_16k --checkpoint last_best_checkpoint.pt
  arecord -t raw -f S16_LE -r 48000 | python tools/denoise.py - -o - --rate 48000 | aplay -t raw -f S16_LE -r 48000
{NOTES}"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="sound files, folders, globs, or - for a pipe")
    add_options(
        parser,
        "the clean recording (or a folder with one of the same name): print SI-SDR, PESQ and STOI before and after",
    )
    return parser


def _misfit(processor: "AudioProcessor") -> str | None:
    if len(processor.inputs) == 1 and len(processor.outputs) == 1:
        return None
    return f"it maps {', '.join(processor.inputs)} to {', '.join(processor.outputs)}, a denoiser one to one"


def main(argv: list[str] | None = None) -> int:
    args = parse(build_parser(), argv)
    piped = "-" in args.inputs or args.out == "-"
    if piped and len(args.inputs) > 1:
        raise UserError("a pipe goes with one input only")
    jobs = [] if piped else find_jobs(args.inputs, args.out)
    check_outputs(jobs, args, ("speech",))
    missing = f"the shipped weights are not at {SHIPPED}; give --checkpoint FILE"
    processor = load(args, _misfit, SHIPPED, missing)
    return pipe(processor, args.inputs[0], args) if piped else work(processor, jobs, args)
