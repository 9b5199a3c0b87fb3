"""Make clean synthetic speech of many voices for training denoisers, with Debian's free speech synthesisers.

    apt-get install espeak-ng flite festival festvox-kdlpc16k festvox-us-slt-hts
    python data/make_tts_speech.py data/denoising/speech_tts

Only voices under permissive licences speak: flite's kal16, awb, rms and slt, festival's ked and the HTS slt, and
espeak-ng's formant synthesis with its voice variants in ten languages. Files are OUT/SYNTHESISER-VOICE_NUMBER.wav,
16 kHz, mono, about 20 s each.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16000
FLITE = ("kal16", "awb", "rms", "slt")
FESTIVAL = {"ked": "voice_ked_diphone", "slt": "voice_cmu_us_slt_arctic_hts"}
LANGUAGES = ("en-us", "en-gb", "de", "fr", "es", "it", "pt", "nl", "sv", "fi")
VARIANTS = ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5", "Andy", "Annie", "steph", "linda", "adam")

SUBJECTS = """
    the old man, a young doctor, my sister, the whole village, our neighbour, every child, the captain, no one, the
    judge, this machine, a grey fox, the visitor, her cousin, the third pilot, some farmers
"""
VERBS = """
    bought, forgot, should examine, has never seen, was watching, threw away, found, could not reach, will judge,
    measured, often brings, chose, may sharpen, built, wishes for
"""
OBJECTS = """
    a yellow bicycle, the vegetables, seven thousand pages, fresh bread, the broken window, a question of taste, the
    northern bridge, cheap shoes, a treasure chest, the weather report, two loud geese, good advice, a zigzag path,
    the judgement, an orange jacket
"""
PLACES = """
    near the harbour, before breakfast, under the thick ice, with great pleasure, for the last time, in a quiet
    voice, on the eighth of July, without thinking, at the university, beyond those hills, after the show, because
    of the noise, during the voyage, for half an hour, behind the church
"""
EXTRA = """
    Yes., Why not?, Who is there?, Please wait a moment., Four; nine; two; zero; six., That is all I know., Thank
    you very much!, Turn left at the next street., Is it Thursday?, Call me back at five thirty.
"""


def phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split(",")]


def sentence(chance: random.Random) -> str:
    """A sentence of English words, most of them new."""
    if chance.random() < 0.15:
        return chance.choice(phrases(EXTRA))
    parts = [chance.choice(phrases(words)) for words in (SUBJECTS, VERBS, OBJECTS, PLACES)]
    text = " ".join(parts[: chance.choice((3, 4, 4))])
    if chance.random() < 0.3:
        text = f"{chance.choice(phrases(PLACES))}, {text}"
    return text[0].upper() + text[1:] + chance.choice("...?!")


def pseudo_words(chance: random.Random) -> str:
    """Some words of no language that any synthesiser can read."""
    onsets = phrases("b, bl, br, d, dr, f, fl, g, gr, h, j, k, kl, l, m, n, p, pr, r, s, st, sp, t, tr, v, z, sh, ch")
    words = []
    for _ in range(chance.randint(4, 9)):
        syllables = [
            chance.choice(onsets) + chance.choice("aeiou") + chance.choice(("", "", "n", "s", "r", "l", "t"))
            for _ in range(chance.randint(1, 3))
        ]
        words.append("".join(syllables))
    return " ".join(words) + "."


def speak(synthesiser: str, voice: str, text: str, chance: random.Random, folder: Path) -> Path:
    """Let `voice` read `text` with a random speed (and pitch, where the synthesiser knows it)."""
    spoken, written = folder / "out.wav", folder / "text.txt"
    written.write_text(text, encoding="utf-8")
    stretch = f"{chance.uniform(0.8, 1.3):.2f}"
    if synthesiser == "flite":
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-f", written, "-o", spoken]
    elif synthesiser == "festival":
        # HTS and diphone voices read the stretch from the same parameter
        command = [
            "text2wave",
            "-eval",
            f"({FESTIVAL[voice]})",
            "-eval",
            f"(Parameter.set 'Duration_Stretch {stretch})",
        ]
        command += ["-o", spoken, written]
    else:
        pitch, speed = str(chance.randint(20, 80)), str(chance.randint(120, 210))
        command = ["espeak-ng", "-v", voice, "-p", pitch, "-s", speed, "-f", written, "-w", spoken]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return spoken


def make_file(out: Path, synthesiser: str, voice: str, chance: random.Random) -> float:
    """One file of about 20 s; gives its seconds."""
    english = synthesiser != "espeak" or voice.startswith("en")
    text = "\n".join(sentence(chance) if english and chance.random() < 0.8 else pseudo_words(chance) for _ in range(8))
    with tempfile.TemporaryDirectory() as folder:
        samples, rate = soundfile.read(speak(synthesiser, voice, text, chance, Path(folder)), dtype="float32")
    samples = soxr.resample(samples, rate, RATE)
    samples *= 0.5 / max(np.abs(samples).max(), 1e-3)
    soundfile.write(out, samples, RATE, subtype="PCM_16")
    return len(samples) / RATE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument(
        "--files", type=int, default=16, help="files of each recorded voice (16); a third of it of formant voices"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lacking = [name for name in ("flite", "text2wave", "espeak-ng") if shutil.which(name) is None]
    if lacking:
        print(f"error: {', '.join(lacking)} is not installed; see --help", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    chance = random.Random(args.seed)
    voices = [("flite", voice, args.files) for voice in FLITE] + [("festival", voice, args.files) for voice in FESTIVAL]
    espeak = [f"{language}+{variant}" for language in LANGUAGES for variant in VARIANTS]
    voices += [("espeak", voice, 1) for voice in chance.sample(espeak, min(len(espeak), 4 * args.files))]
    seconds = 0.0
    for synthesiser, voice, count in voices:
        for number in range(count):
            seconds += make_file(args.out / f"{synthesiser}-{voice}_{number}.wav", synthesiser, voice, chance)
        print(f"{synthesiser} {voice}: {seconds / 60:.1f} minutes so far", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
