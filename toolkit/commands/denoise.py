"""Take the noise out of recordings: files, folders, or a live stream on a pipe."""

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands._audio import NOTES, build_parser, parse, work_on_inputs

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
CLEAN = "the clean recording (or a folder with one of the same name): print SI-SDR, PESQ and STOI before and after"


def _misfit(processor: "AudioProcessor") -> str | None:
    if len(processor.inputs) == 1 and len(processor.outputs) == 1:
        return None
    return f"it maps {', '.join(processor.inputs)} to {', '.join(processor.outputs)}, a denoiser one to one"


def main(argv: list[str] | None = None) -> int:
    args = parse(build_parser(__doc__, EXAMPLES, CLEAN), argv)
    return work_on_inputs(args, _misfit, SHIPPED)
