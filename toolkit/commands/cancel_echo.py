"""Take the echo of a loudspeaker, and noise, out of a microphone's recording."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands._audio import NOTES, Job, add_options, check_outputs, find_jobs, load, parse, pipe, work
from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.audio.inferencer import AudioProcessor

EXAMPLES = f"""examples:
  python tools/cancel_echo.py microphone.wav loudspeaker.wav -o near.wav    the network that comes with the toolkit
  python tools/cancel_echo.py microphones/ loudspeakers/ -o near/           files of the same name
  python tools/cancel_echo.py microphone.wav loudspeaker.wav -o near.wav --checkpoint best.pth
  ... | python tools/cancel_echo.py - -o - --channels 2                     a pipe: the last channel is REF

MIC and REF may differ in rate, channels and length: the reference's channels are averaged, silence follows where it
ends. Where the echo lies outside 0 to 50 ms after the reference, the reference is moved; this offset is looked for up
to --max-offset seconds in both directions, in the first five minutes. A clock that drifts is not followed.
{NOTES}"""
SHIPPED = Path(__file__).resolve().parents[1] / "audio" / "weights" / "d3net_aec_small.pth"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("microphone", metavar="MIC", help="the microphone's recording, a folder, or - for a pipe")
    parser.add_argument("reference", metavar="REF", nargs="?", help="what the loudspeaker played; not with a pipe")
    parser.add_argument(
        "--max-offset", type=float, default=5.0, metavar="S",
        help="seconds that REF may be early or late; 0 takes the files as they are (default: 5)",
    )  # fmt: skip
    add_options(parser, "the near speech alone: print SI-SDR, PESQ and STOI before and after")
    return parser


def _misfit(processor: "AudioProcessor") -> str | None:
    if len(processor.inputs) == 2 and len(processor.outputs) == 1:
        return None
    return (
        f"it maps {', '.join(processor.inputs)} to {', '.join(processor.outputs)}; two inputs and one output are needed"
    )


def _pairs(args: argparse.Namespace) -> list[Job]:
    """The microphones with their references, by their names where folders are given."""
    reference = Path(args.reference).expanduser()
    if not reference.exists():
        raise UserError(f"{args.reference} does not exist")
    jobs, root = find_jobs([args.microphone], args.out), Path(args.microphone).expanduser()
    if root.is_dir() != reference.is_dir():
        raise UserError("give two files or two folders: MIC and REF are a file and a folder")
    if not root.is_dir():
        return [Job(job.source, job.out, reference) for job in jobs]
    return [Job(job.source, job.out, reference / job.source.relative_to(root.absolute())) for job in jobs]


def main(argv: list[str] | None = None) -> int:
    args = parse(build_parser(), argv)
    piped = "-" in (args.microphone, args.out)
    if not 0 <= args.max_offset <= 60:
        raise UserError(f"--max-offset {args.max_offset}: give 0 to 60 seconds")
    if piped and (args.microphone != "-" or args.reference is not None):
        raise UserError(
            "a pipe in carries the microphone and, as its last channel, the reference: cancel_echo.py - -o OUT"
        )
    if not piped and args.reference is None:
        raise UserError(
            "give what the loudspeaker played after the microphone's recording: cancel_echo.py MIC REF -o OUT"
        )
    jobs = [] if piped else _pairs(args)
    check_outputs(jobs, args, ("speech",))
    processor = load(args, _misfit, SHIPPED)
    return pipe(processor, "-", args) if piped else work(processor, jobs, args, max_offset=args.max_offset)
