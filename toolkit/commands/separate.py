"""Part speakers who talk at the same time into one file each."""

import argparse
from typing import TYPE_CHECKING

from toolkit.commands._audio import NOTES, add_options, check_outputs, find_jobs, load, parse, pipe, work
from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.audio.inferencer import AudioProcessor

EXAMPLES = f"""examples:
  python tools/separate.py talk.wav -o parted.wav --checkpoint best.pth         parted_speaker1.wav, parted_speaker2.wav
  python tools/separate.py recordings/ -o parted/ --checkpoint best.pth         a folder, mirrored
  python tools/separate.py talk.wav -o parted.wav --model audio/mossformer2_ss_16k --checkpoint last_best_checkpoint.pt
  python tools/separate.py talk.wav -o parted.wav --checkpoint best.pth --metrics anna.wav ben.wav

Long recordings go through in windows that overlap; the speakers keep their order. The results add up to the recording
as nearly as one gain for each allows.
{NOTES}"""
NO_MODEL = (
    "no network is shipped for separation: give --checkpoint FILE of one that you trained "
    "(tools/train.py audio/mossformer2_ss_...), or --model CONFIG --checkpoint FILE with the published weights"
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="sound files, folders, globs, or - for a pipe")
    add_options(
        parser,
        "the speakers' clean recordings, in any order: print SI-SDR, PESQ and STOI of each before and after",
        "+",
    )
    return parser


def _misfit(processor: "AudioProcessor") -> str | None:
    if len(processor.inputs) == 1 and len(processor.outputs) > 1:
        return None
    return f"it maps {', '.join(processor.inputs)} to {', '.join(processor.outputs)}, a separator one to several"


def main(argv: list[str] | None = None) -> int:
    args = parse(build_parser(), argv)
    piped = "-" in args.inputs or args.out == "-"
    if piped and len(args.inputs) > 1:
        raise UserError("a pipe goes with one input only")
    jobs = [] if piped else find_jobs(args.inputs, args.out)
    processor = load(args, _misfit, None, NO_MODEL)
    check_outputs(jobs, args, processor.outputs)
    return pipe(processor, args.inputs[0], args) if piped else work(processor, jobs, args)
