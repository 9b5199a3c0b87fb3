"""Part speakers who talk at the same time into one file each."""

from typing import TYPE_CHECKING

from toolkit.commands._audio import NOTES, build_parser, parse, work_on_inputs

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
CLEAN = "the speakers' clean recordings, in any order: print SI-SDR, PESQ and STOI of each before and after"
NO_MODEL = (
    "no network is shipped for separation: give --checkpoint FILE of one that you trained "
    "(tools/train.py audio/mossformer2_ss_...), or --model CONFIG --checkpoint FILE with the published weights"
)


def _misfit(processor: "AudioProcessor") -> str | None:
    if len(processor.inputs) == 1 and len(processor.outputs) > 1:
        return None
    return f"it maps {', '.join(processor.inputs)} to {', '.join(processor.outputs)}, a separator one to several"


def main(argv: list[str] | None = None) -> int:
    args = parse(build_parser(__doc__, EXAMPLES, CLEAN, "+"), argv)
    return work_on_inputs(args, _misfit, None, NO_MODEL)
