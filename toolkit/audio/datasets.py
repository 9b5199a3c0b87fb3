"""Data sets of audio: files that belong together, speakers mixed anew each time, speech put into noise.

All give dict(inputs=(C_in, T), targets=(S, T)), float32 tensors in [-1, 1]. Files are read in pieces where only pieces
are needed, so their lengths and the number of hours do not matter. Random choices come from NumPy's global generator,
which the runner seeds for every sample.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from mmengine.registry import DATASETS
from scipy import fft

from toolkit.audio.simulate import babble, octaves, random_room, rumble, smooth_curve, synthetic_noise
from toolkit.errors import UserError

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
Sample = dict[str, torch.Tensor]


def find_audio(path: str | Path, only: str | None = None, skip: str | None = None) -> list[Path]:
    """Audio files below a folder, in order.

    Args:
        path: the folder.
        only, skip: regular expressions; of the names without ending, those found by `only` and not found by `skip`
            stay.

    Raises:
        UserError: no file is left.
    """
    files = sorted(file for file in Path(path).rglob("*") if file.suffix.lower() in ENDINGS)
    kept = [file for file in files if _fits(file, only, skip)]
    if not kept:
        why = f"none of its {len(files)} audio files fits only={only!r}, skip={skip!r}" if files else "no audio files"
        raise UserError(f"{path}: {why if Path(path).is_dir() else 'no such folder'}")
    return kept


def _fits(file: Path, only: str | None, skip: str | None) -> bool:
    return bool(re.search(only or "", file.stem)) and not (skip and re.search(skip, file.stem))


def open_audio(path: str | Path) -> soundfile.SoundFile:
    """Raises `UserError` for what is no audio file."""
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"{path}: cannot be read as audio ({error})") from error


def read_part(path: str | Path, rng: np.random.Generator, seconds: float, loop: bool = False) -> tuple[np.ndarray, int]:
    """A piece of the file's first channel from a random place, and its rate; shorter where the file is.

    Args:
        loop: start anywhere and go on from the beginning at the end, until the piece is full.
    """
    with open_audio(path) as file:
        count, total = max(1, round(seconds * file.samplerate)), file.frames
        if total == 0:
            raise UserError(f"{path}: has no samples")
        start = int(rng.integers(0, total if loop else max(1, total - count + 1)))
        file.seek(start)
        parts = [file.read(count, dtype="float32", always_2d=True)[:, 0]]
        while loop and sum(map(len, parts)) < count:
            file.seek(0)
            parts.append(file.read(count - sum(map(len, parts)), dtype="float32", always_2d=True)[:, 0])
        return np.concatenate(parts), file.samplerate


def read_whole(path: str | Path, sample_rate: int) -> np.ndarray:
    """The first channel at that rate."""
    with open_audio(path) as file:
        samples, rate = file.read(dtype="float32", always_2d=True)[:, 0], file.samplerate
    return soxr.resample(samples, rate, sample_rate) if rate != sample_rate else samples


def rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)) + 1e-20))


def sample_generator(seed: int | None, index: int) -> np.random.Generator:
    """The generator of a sample: fixed by `seed` and `index`, or with None seeded by NumPy's global one."""
    entropy = np.random.randint(2**32, size=2, dtype=np.uint32).tolist() if seed is None else (seed, index)
    return np.random.default_rng(entropy)


# ------------------------------------------------------------------------------------------ files that belong together


@DATASETS.register_module()
class AlignedAudio:
    """Files of equal length that belong together by their names or by the lines of a table.

    Patterns are folders and names below `data_root`. What the last `*` of a pattern stands for must be equal in
    files that belong together: inputs ("noisy/*.wav",), targets ("clean/*.wav",), or for one folder with
    item3_mix.wav, item3_source1.wav, ... inputs ("*_mix.wav",), targets ("*_source1.wav", "*_source2.wav"). Earlier
    stars stand for anything. With `table`, inputs and targets are columns of a CSV file that hold paths.

    Args:
        data_root: where files or the paths of the table begin.
        inputs, targets: patterns, or columns.
        sample_rate: in Hz; files of another rate are resampled when they are read whole, and refused with `seconds`.
        table: CSV file below `data_root`.
        seconds: give a random piece of this length, with zeros behind shorter files; None for whole files, which need
            a batch size of 1.
        only, skip: regular expressions for the files of the first input, as in `find_audio`.

    Raises:
        UserError: nothing fits the patterns, or files are missing.
    """

    metainfo: dict = {}  # mmengine asks for it

    def __init__(
        self,
        data_root: str,
        inputs: Sequence[str],
        targets: Sequence[str],
        sample_rate: int,
        table: str | None = None,
        seconds: float | None = None,
        only: str | None = None,
        skip: str | None = None,
    ):
        self.sample_rate, self.seconds, self.inputs = sample_rate, seconds, len(inputs)
        root, columns = Path(data_root), [*inputs, *targets]
        rows = _rows_of_table(root, table, columns) if table else _rows_of_patterns(root, columns)
        named = [row for row in rows if _fits(row[0], only, skip)]
        if not named:
            raise UserError(f"{root}: none of its {len(rows)} recordings fits only={only!r}, skip={skip!r}")
        missing = [path for row in named for path in row if not path.is_file()]
        if missing:
            raise UserError(
                f"{missing[0]}: is missing, as are {len(missing) - 1} more that belong to the others' names"
            )
        self.rows = named

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        whole = self.seconds is None
        signals = [read_whole(path, self.sample_rate) for path in row] if whole else self._pieces(row)
        if len({len(signal) for signal in signals}) > 1:
            raise UserError(f"{row[0]}: the files that belong to it differ in length")
        stacked = torch.from_numpy(np.stack(signals))
        return dict(inputs=stacked[: self.inputs], targets=stacked[self.inputs :])

    def _pieces(self, row: list[Path]) -> list[np.ndarray]:
        seed = int(np.random.randint(2**31))
        pieces = []
        for path in row:
            piece, rate = read_part(path, np.random.default_rng(seed), self.seconds)  # the same place in each
            if rate != self.sample_rate:
                raise UserError(f"{path}: has {rate} Hz, the data set says {self.sample_rate}; resample it first")
            pieces.append(np.pad(piece, (0, round(self.seconds * rate) - len(piece))))
        return pieces


def _rows_of_patterns(root: Path, patterns: Sequence[str]) -> list[list[Path]]:
    """For each file that fits the first pattern: it, and the files that belong to it."""
    by_key = []
    for pattern in patterns:
        before, star, after = pattern.rpartition("*")
        if not star:
            raise UserError(f"{pattern}: a pattern needs a * that stands for what the names have in common")
        files = sorted(root.glob(pattern))
        if not files:
            raise UserError(f"{root / pattern}: no files")
        expression = re.compile("(?s:.*)".join(map(re.escape, before.split("*"))) + "(?s:(.*))" + re.escape(after))
        # several stars match in many ways: the last takes as little as it can
        keys = [expression.fullmatch(file.relative_to(root).as_posix()) for file in files]
        by_key.append({match[1]: file for match, file in zip(keys, files, strict=True) if match})
    for pattern, files in zip(patterns[1:], by_key[1:], strict=True):
        lacking = [file for key, file in by_key[0].items() if key not in files]
        if lacking:
            raise UserError(f"{lacking[0]}: {len(lacking)} files like this have none of their name in {root / pattern}")
    return [[files[key] for files in by_key] for key in by_key[0]]


def _rows_of_table(root: Path, table: str, columns: Sequence[str]) -> list[list[Path]]:
    try:
        with (root / table).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{root / table}: {error.strerror}") from error
    lacking = [column for column in columns if not lines or column not in lines[0]]
    if lacking:
        raise UserError(f"{root / table}: has no column {lacking[0]!r}; it has {', '.join(lines[0] if lines else ())}")
    return [[root / line[column] for column in columns] for line in lines]


# --------------------------------------------------------------------------------------------------- sources of speech


class Speakers:
    """Recordings below a folder, by speaker.

    Args:
        path: the folder.
        weight: how often this folder is drawn from beside others.
        speaker: regular expression whose first group, in the path below the folder without ending, names the speaker;
            None: every file is of a speaker of its own.
        only, skip: see `find_audio`.
    """

    def __init__(
        self,
        path: str,
        weight: float = 1.0,
        speaker: str | None = None,
        only: str | None = None,
        skip: str | None = None,
    ):
        self.weight = weight
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        for file in find_audio(path, only, skip):
            name = file.relative_to(path).with_suffix("").as_posix()
            if speaker is not None:
                found = re.search(speaker, name)
                if found is None:
                    raise UserError(f"{file}: the rule speaker={speaker!r} finds no speaker in its name")
                name = found[1]
            self.by_name[f"{path}: {name}"].append(file)
        self.names = list(self.by_name)


class SpeechSource:
    """Several folders of speech as one.

    Args:
        folders: arguments of `Speakers`.
    """

    def __init__(self, folders: Sequence[dict]):
        self.folders = [Speakers(**folder) for folder in folders]
        weights = np.array([folder.weight for folder in self.folders])
        self.shares = weights / weights.sum()

    def speaker(self, rng: np.random.Generator) -> list[Path]:
        """The recordings of a random speaker."""
        folder = self.folders[rng.choice(len(self.folders), p=self.shares)]
        return folder.by_name[folder.names[rng.integers(len(folder.names))]]

    def utterance(
        self, rng: np.random.Generator, files: list[Path], seconds: float, rate: int, speed: float = 1.0
    ) -> tuple[np.ndarray, int]:
        """Pieces of those recordings one after the other, with pauses; also the lowest rate among them, in Hz.

        Args:
            speed: faster and higher by this factor.

        Returns:
            (seconds * rate,) float32 and the rate.
        """
        length, done, lowest = round(seconds * rate), 0, rate
        signal = np.zeros(length, np.float32)
        while done < length:
            piece, own_rate = read_part(files[rng.integers(len(files))], rng, (length - done) / rate * speed + 0.01)
            lowest = min(lowest, own_rate)
            piece = soxr.resample(piece, own_rate * speed, rate, quality="MQ")[: length - done]
            signal[done : done + len(piece)] = piece
            done += len(piece) + int(rate * rng.exponential(0.15))
        return signal, lowest


@DATASETS.register_module()
class SpeakerMixtures:
    """Mixtures of speakers, made anew each time: dynamic mixing.

    Wavesplit: End-to-End Speech Separation by Speaker Clustering, arXiv 2002.08933. Each mixture takes other pieces of
    other speakers at other levels, so that a small set of recordings does not wear out.

    Args:
        folders: of clean speech, arguments of `Speakers`.
        length: samples in an epoch, or of the fixed set.
        seconds: of a mixture.
        sample_rate: in Hz.
        speakers: in a mixture.
        gain: in dB; each speaker's level is drawn from -gain to gain.
        speed: lowest and highest factor of speed and pitch together.
        noise: folders of noise, arguments of `find_audio`; None for none.
        snr: lowest and highest level of the first speaker over the noise in dB.
        seed: fixes the set, for validation; None to draw anew.
    """

    metainfo: dict = {}  # mmengine asks for it

    def __init__(
        self,
        folders: Sequence[dict],
        length: int,
        seconds: float,
        sample_rate: int,
        speakers: int = 2,
        gain: float = 2.5,
        speed: tuple[float, float] = (1.0, 1.0),
        noise: Sequence[dict] | None = None,
        snr: tuple[float, float] = (-6.0, 3.0),
        seed: int | None = None,
    ):
        self.source = SpeechSource(folders)
        self.noise = [file for folder in noise or () for file in find_audio(**folder)]
        self.length, self.seconds, self.sample_rate = length, seconds, sample_rate
        self.speakers, self.gain, self.speed, self.snr, self.seed = speakers, gain, speed, snr, seed
        if sum(len(folder.names) for folder in self.source.folders) < speakers:
            raise UserError(f"{folders[0]['path']}: holds fewer speakers than a mixture needs, {speakers}")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = sample_generator(self.seed, index)
        chosen: list[list[Path]] = []
        while len(chosen) < self.speakers:
            files = self.source.speaker(rng)
            if files not in chosen:
                chosen.append(files)
        voices = []
        for files in chosen:
            voice, _ = self.source.utterance(rng, files, self.seconds, self.sample_rate, rng.uniform(*self.speed))
            voices.append(voice * (10 ** (rng.uniform(-self.gain, self.gain) / 20) / max(rms(voice), 1e-4)))
        mixture = sum(voices)
        if self.noise:
            mixture = mixture + self._noise(rng) * (rms(voices[0]) * 10 ** (-rng.uniform(*self.snr) / 20))
        scale = rng.uniform(0.3, 0.9) / np.abs(mixture).max()
        targets = torch.from_numpy(np.stack(voices) * np.float32(scale))
        return dict(inputs=torch.from_numpy(mixture[None] * np.float32(scale)), targets=targets)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        piece, rate = read_part(self.noise[rng.integers(len(self.noise))], rng, self.seconds, loop=True)
        piece = soxr.resample(piece, rate, self.sample_rate)
        piece = np.resize(piece, round(self.seconds * self.sample_rate))
        return piece / max(rms(piece), 1e-6)


# ----------------------------------------------------------------------------------------------------- speech in noise


def band_extended(rng: np.random.Generator, speech: np.ndarray, limit: float, rate: int) -> np.ndarray:
    """Speech that ends at `limit` Hz with noise above it, which follows the loudness of the highest octave there is.

    Telephone-band recordings otherwise teach a network that speech has nothing up there.
    """
    size = len(speech)
    frequencies = fft.rfftfreq(size, 1 / rate).astype(np.float32)
    top = fft.irfft(fft.rfft(speech) * ((frequencies > 0.55 * limit) & (frequencies < limit)), size)
    frame = rate // 250
    loudness = np.sqrt(np.convolve(top**2, (np.hanning(2 * frame) / frame).astype(np.float32), "same").clip(0))
    noise = fft.rfft(loudness * rng.standard_normal(size, np.float32))
    above = np.clip((frequencies - 0.93 * limit) / (0.1 * limit), 0, 1)
    fall = rng.uniform(0, 12) * np.log2(np.maximum(frequencies, limit) / limit) + rng.uniform(-9, 6)
    return speech + fft.irfft(noise * above * 10 ** (-fall / 20), size).astype(np.float32)


def random_filter(rng: np.random.Generator, bins: int, rate: int, spread: float) -> np.ndarray:
    """Gains of an equaliser from 0 Hz to half the rate: a smooth curve, sometimes with edges, and a slope.

    Args:
        bins: length of the result.
        spread: of the curve in dB.
    """
    frequencies = np.linspace(0, rate / 2, 1025)
    place = octaves(frequencies)
    decibels = smooth_curve(rng, place, int(rng.integers(2, 8)), spread) + 8 * rng.normal(0, spread / 5) * place
    if rng.random() < 0.25:
        decibels = decibels - 60 * np.clip(np.log2(np.maximum(frequencies, 1) / rng.uniform(3000, 7500)), 0, 1) * 2
    if rng.random() < 0.25:
        decibels = decibels - 24 * np.clip(np.log2(rng.uniform(60, 300) / np.maximum(frequencies, 1)), 0, 4)
    gains = 10 ** (decibels / 20)
    return np.interp(np.linspace(0, 1, bins), np.linspace(0, 1, len(gains)), gains).astype(np.float32)


@DATASETS.register_module()
class SpeechInNoise:
    """Speech with noise added, made anew each time; the target is the speech as the microphone would hear it alone.

    Speech is pieces of one speaker with pauses, at a random speed and pitch, band-extended where its recording ends
    below half the rate, through a random equaliser and often a room. Noise is recorded, synthetic, or voices of others
    at once, or two of them; recordings play at a random speed and through a random equaliser, so that few of them
    make many noises.

    Args:
        speech: folders of clean speech, arguments of `Speakers`.
        noise: folders of noise, arguments of `find_audio`.
        length: samples in an epoch, or of the fixed set.
        seconds: of a sample.
        sample_rate: in Hz.
        snr: lowest and highest signal-to-noise ratio in dB of a uniform draw; of a fixed set the ratios that its
            samples have in turn.
        synthetic: share of noises that are random numbers; see `toolkit.audio.simulate.synthetic_noise`.
        babble: share of noises that are other voices.
        clean: share of samples with next to no noise, 30 to 60 dB below the speech.
        rooms: share of samples in a simulated room.
        rumble: share of samples whose speech has a rumble below 90 Hz, which stays in the target: real recordings have
            it, at 7 to 36 dB below the voice, and a network that takes it out of clean ones changes them much.
        seed: fixes the set, for validation, and leaves out all that is listed here but speech and recorded noise.
    """

    metainfo: dict = {}  # mmengine asks for it

    def __init__(
        self,
        speech: Sequence[dict],
        noise: Sequence[dict],
        length: int,
        seconds: float,
        sample_rate: int,
        snr: Sequence[float] = (-10.0, 20.0),
        synthetic: float = 0.0,
        babble: float = 0.0,
        clean: float = 0.0,
        rooms: float = 0.0,
        rumble: float = 0.0,
        seed: int | None = None,
    ):
        self.source = SpeechSource(speech)
        self.rumble = rumble
        self.noise = [file for folder in noise for file in find_audio(**folder)]
        self.length, self.seconds, self.sample_rate, self.seed = length, seconds, sample_rate, seed
        self.size = round(seconds * sample_rate)
        self.snr, self.synthetic, self.babble, self.clean, self.rooms = tuple(snr), synthetic, babble, clean, rooms
        self.padded = fft.next_fast_len(self.size + sample_rate, real=True)  # leaves room for the tail of a filter

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = sample_generator(self.seed, index)
        if self.seed is None:
            speech, noise = self._speech(rng), self._noise(rng)
            decibels = rng.uniform(30, 60) if rng.random() < self.clean else rng.uniform(*self.snr)
            peak = 10 ** (rng.uniform(-40, -1) / 20)
        else:
            speech, _ = self.source.utterance(rng, self.source.speaker(rng), self.seconds, self.sample_rate)
            noise = self._recorded(rng, 1.0)
            decibels, peak = self.snr[index % len(self.snr)], 0.5
        noise = noise * (max(rms(speech), 1e-5) / max(rms(noise), 1e-9) * 10 ** (-decibels / 20))
        scale = np.float32(peak / max(np.abs(speech + noise).max(), 1e-6))
        mixture, target = ((signal * scale).astype(np.float32) for signal in (speech + noise, speech))
        return dict(inputs=torch.from_numpy(mixture[None]), targets=torch.from_numpy(target[None]))

    def _filtered(self, signal: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """`signal` through a filter that is given by its spectrum over `padded` samples."""
        return fft.irfft(fft.rfft(signal, self.padded) * gains, self.padded)[: self.size]

    def _speech(self, rng: np.random.Generator) -> np.ndarray:
        speed = float(np.clip(rng.normal(1.0, 0.17), 0.7, 1.5))
        speech, rate = self.source.utterance(rng, self.source.speaker(rng), self.seconds, self.sample_rate, speed)
        if rate < self.sample_rate and rng.random() < 0.8:
            speech = band_extended(rng, speech, min(rate * speed, self.sample_rate) / 2, self.sample_rate)
        gains = random_filter(rng, self.padded // 2 + 1, self.sample_rate, rng.uniform(0, 9))
        if rng.random() < self.rooms:
            gains = gains * fft.rfft(random_room(rng, self.sample_rate), self.padded)
        speech = self._filtered(speech, gains)
        if rng.random() < self.rumble:
            speech += rumble(rng, self.size, self.sample_rate) * (rms(speech) * 10 ** rng.uniform(-1.8, -0.35))
        return speech

    def _recorded(self, rng: np.random.Generator, speed: float) -> np.ndarray:
        """A piece of recorded noise, faster by a factor."""
        path = self.noise[rng.integers(len(self.noise))]
        piece, rate = read_part(path, rng, self.seconds * speed + 0.01, loop=True)
        return soxr.resample(piece, rate * speed, self.sample_rate, quality="MQ")[: self.size]

    def _one_noise(self, rng: np.random.Generator) -> np.ndarray:
        draw = rng.random()
        if draw < self.synthetic:
            return synthetic_noise(rng, self.size, self.sample_rate)
        if draw < self.synthetic + self.babble:
            voices = [
                self.source.utterance(
                    rng, self.source.speaker(rng), self.seconds, self.sample_rate, rng.uniform(0.8, 1.3)
                )
                for _ in range(rng.integers(3, 9))
            ]
            noise = babble(rng, [voice for voice, _ in voices])
        else:
            noise = self._recorded(rng, 2 ** rng.uniform(-0.8, 0.8))
            if rng.random() < 0.1:
                noise = noise[::-1]
        return self._filtered(noise, random_filter(rng, self.padded // 2 + 1, self.sample_rate, rng.uniform(0, 8)))

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        noise = self._one_noise(rng)
        if rng.random() < 0.4:
            other = self._one_noise(rng)
            noise = noise + other * (rms(noise) / max(rms(other), 1e-9) * 10 ** rng.uniform(-0.8, 0.3))
        return noise
