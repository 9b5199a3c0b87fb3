"""Sound files in blocks, in and out: any length in constant memory, written whole or not at all.

Wavs are (C, T) float32 in [-1, 1].
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from toolkit.errors import UserError
from toolkit.files import give_name, temporary_for, unharmed

# By the ending of a name: libsndfile's format.
FORMATS = {
    ".wav": "WAV", ".wave": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".aif": "AIFF", ".aiff": "AIFF", ".aifc": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF", ".w64": "W64",
    ".rf64": "RF64",
}  # fmt: skip
# Sound files that only other programs read: known so that nothing in a folder is passed over in silence.
FOREIGN = (".m4a", ".aac", ".wma", ".amr", ".ac3", ".ape", ".mka", ".wv", ".webm", ".mp4")
WAV_BYTES = 2**32 - 2**16  # a WAV's sizes are 32-bit numbers


class SoundReader:
    """A sound file, open for reading.

    Attributes:
        path: the file.
        sample_rate: in Hz.
        channels: how many.
        frames: samples of each channel.
        format: libsndfile's name of the container, such as "WAV".
        subtype: libsndfile's name of the coding, such as "PCM_16".
        not_finite: how many NaN and infinite samples were read so far; they are read as 0.

    Raises:
        UserError: the file is missing, empty, damaged or in a coding that libsndfile does not read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise UserError(f"{path} is a folder; give a sound file")
        if not self.path.exists():
            raise UserError(f"{path} does not exist")
        if self.path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes)")
        with self.path.open("rb"):  # for the system's own reason why it cannot be read
            pass
        try:
            self._file = soundfile.SoundFile(str(self.path))
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a .raw file
            raise UserError(
                f"{path} is no sound file that can be read here (wav, flac, ogg, mp3, aiff), or its header is damaged; "
                f"convert it: ffmpeg -i {self.path.name} {self.path.stem}{'_new' * _is_wav(self.path)}.wav"
            ) from error
        self.sample_rate, self.channels, self.frames = self._file.samplerate, self._file.channels, self._file.frames
        self.format, self.subtype = self._file.format, self._file.subtype
        self.not_finite = 0
        if self.frames == 0:
            self.close()
            raise UserError(f"{path} holds no samples: it was cut off after its header, or never finished")

    @property
    def seconds(self) -> float:
        """Length of the file."""
        return self.frames / self.sample_rate

    @property
    def tags(self) -> dict[str, str]:
        """Title, artist, comment ... as far as the file has them."""
        return self._file.copy_metadata()

    def seek(self, frame: int) -> None:
        """Go to sample `frame` of each channel."""
        self._file.seek(frame)

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples, fewer at the end: (C, n).

        Raises:
            UserError: the file is damaged here.
        """
        before = self._file.tell()
        try:
            block = self._file.read(count, dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            raise UserError(f"{self.path} is damaged after {before / self.sample_rate:.1f} s: {error}") from error
        if block.shape[1] < min(count, self.frames - before):
            raise UserError(
                f"{self.path} is cut short: {(before + block.shape[1]) / self.sample_rate:.1f} of "
                f"{self.seconds:.1f} s are there"
            )
        bad = ~np.isfinite(block)
        if bad.any():
            self.not_finite += int(bad.sum())
            block = np.where(bad, np.float32(0), block)
        return block

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """The rest of the file in blocks (C, count), the last one shorter."""
        while (block := self.read(count)).shape[1]:
            yield block

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_wav(path: Path) -> bool:
    return path.suffix.lower() == ".wav"


def coding_for(path: str | Path, frames: int, channels: int, like: tuple[str, str] | None = None) -> tuple[str, str]:
    """(format, subtype) to write `path` in.

    The subtype is that of `like` where the format of `path` has it, else the nearest. WAV becomes RF64, its form for
    long files, where the samples take more than 4 GB.

    Args:
        path: its ending chooses the format.
        frames: samples of each channel that will be written.
        channels: how many.
        like: (format, subtype) of the file that it comes from.

    Raises:
        UserError: no format has this ending, or the samples do not fit into it.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path}: cannot write {suffix or 'a name without an ending'}; use one of {' '.join(FORMATS)}")
    kind = FORMATS[suffix]
    old_format, old = like or ("WAV", "PCM_16")
    if kind == "WAV" and old_format in ("WAVEX", "RF64"):
        kind = old_format
    if suffix == ".opus":
        wanted = ["OPUS"]
    else:  # lossless from float in a format of integers: the most bits it has
        wanted = [old, *(["PCM_24"] if old in ("PCM_32", "FLOAT", "DOUBLE") else ["PCM_16", "PCM_S8"])]
    subtype = next((name for name in wanted if soundfile.check_format(kind, name)), soundfile.default_subtype(kind))
    if kind in ("WAV", "WAVEX", "AIFF") and frames * channels * _bytes(subtype) > WAV_BYTES:
        if kind == "AIFF" or not soundfile.check_format("RF64", subtype):
            raise UserError(f"{path}: {kind} with {subtype} ends at 4 GB, which is not enough here; use .w64 or .flac")
        kind = "RF64"
    return kind, subtype


def _bytes(subtype: str) -> int:
    """Bytes of a sample, the most that a subtype with another name takes included."""
    return {"PCM_U8": 1, "PCM_S8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}.get(subtype, 4)


class SoundWriter:
    """A sound file, written under a temporary name beside `path`, which it gets when it is whole.

    with SoundWriter("out.wav", 16000, 1) as file:
        file.write(wav)

    An error or Ctrl-C inside the block leaves what was at `path` before.

    Args:
        path: the file; its folder is made.
        sample_rate: in Hz.
        channels: how many.
        frames: samples that will be written, where known; for the choice of RF64.
        like: a reader whose coding and tags are kept as far as the format of `path` can.

    Raises:
        UserError: the format is unknown or does not take this rate or this many channels; the disk is full.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, frames: int = 0, like: SoundReader | None = None
    ):
        self.path = Path(path).expanduser()
        coding = None if like is None else (like.format, like.subtype)
        self.format, self.subtype = coding_for(path, frames, channels, coding)
        self.frames = 0
        try:
            self._temporary = temporary_for(self.path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        name = str(self._temporary)
        try:
            self._file = soundfile.SoundFile(name, "w", sample_rate, channels, self.subtype, format=self.format)
        except (soundfile.LibsndfileError, ValueError) as error:
            self._temporary.unlink()
            raise UserError(
                f"{path}: {self.format} with {self.subtype} does not take {channels} channels at {sample_rate} Hz; "
                "use .wav or .flac"
            ) from error
        for key, value in (like.tags if like else {}).items():
            with suppress(soundfile.LibsndfileError, AttributeError):
                setattr(self._file, key, value)

    def write(self, wav: np.ndarray) -> None:
        """Append (C, n)."""
        try:
            self._file.write(wav.T)
        except (soundfile.LibsndfileError, AssertionError) as error:  # AssertionError: fewer samples were written
            raise self._unwritable() from error
        self.frames += wav.shape[1]

    def _unwritable(self) -> UserError:
        return UserError(f"cannot write {self.path}: the disk is full, or was taken away{unharmed(self.path)}")

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._file.close()
            if soundfile.info(self._temporary).frames < self.frames:
                raise self._unwritable()
            give_name(self._temporary, self.path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise self._unwritable() from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave nothing of what was written."""
        with suppress(soundfile.LibsndfileError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "SoundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def read_sound(path: str | Path) -> tuple[np.ndarray, int]:
    """A whole file: (C, T) float32, and its sample rate. Raises `UserError`, see `SoundReader`."""
    with SoundReader(path) as reader:
        return reader.read(reader.frames), reader.sample_rate


def write_sound(path: str | Path, wav: np.ndarray, sample_rate: int, like: SoundReader | None = None) -> None:
    """Write (C, T) or (T,), see `SoundWriter`."""
    wav = np.atleast_2d(wav)
    with SoundWriter(path, sample_rate, len(wav), wav.shape[1], like) as writer:
        for start in range(0, wav.shape[1], 2**18):  # libsndfile's Vorbis encoder cannot take minutes at once
            writer.write(wav[:, start : start + 2**18])
