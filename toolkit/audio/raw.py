"""Raw PCM on pipes: interleaved samples without a header, as `ffmpeg -f s16le` and `arecord -t raw` give and take."""

from typing import BinaryIO

import numpy as np

# Name (ffmpeg's), NumPy type, full scale, and the subtype of a sound file that holds it.
RAW_FORMATS = {
    "s16le": ("<i2", 2**15, "PCM_16"),
    "s32le": ("<i4", 2**31, "PCM_32"),
    "f32le": ("<f4", 1, "FLOAT"),
}


class RawReader:
    """Samples from a pipe, as they come. Has what the pipeline needs of a `SoundReader`.

    Args:
        pipe: a buffered binary stream, such as `sys.stdin.buffer`.
        sample_rate: in Hz.
        channels: how many are interleaved.
        kind: one of `RAW_FORMATS`.
    """

    tags: dict[str, str] = {}
    frames = 0  # unknown

    def __init__(self, pipe: BinaryIO, sample_rate: int, channels: int, kind: str):
        self._pipe, self.sample_rate, self.channels, self.kind = pipe, sample_rate, channels, kind
        self._type, self._scale, self.subtype = RAW_FORMATS[kind]
        self.format, self.not_finite, self._left = "RAW", 0, b""

    def read(self, count: int) -> np.ndarray:
        """(C, n) with n from 1 to `count`: what has come by now, waiting for ten milliseconds at least; (C, 0) at the
        end, where the bytes of an unfinished sample are left out."""
        frame = self.channels * np.dtype(self._type).itemsize
        data, least = self._left, max(1, min(count, self.sample_rate // 100)) * frame
        while len(data) < least and (more := self._pipe.read1(count * frame - len(data))):
            data += more
        whole = len(data) // frame * frame
        self._left = data[whole:]
        samples = np.frombuffer(data[:whole], self._type).reshape(-1, self.channels).T
        block = (samples / self._scale).astype(np.float32)
        bad = ~np.isfinite(block)
        self.not_finite += int(bad.sum())
        return np.where(bad, np.float32(0), block)

    def close(self) -> None:
        """The pipe is its owner's to close."""


class RawWriter:
    """Samples into a pipe.

    Args:
        pipe: a binary stream, such as `sys.stdout.buffer`.
        kind: one of `RAW_FORMATS`.
    """

    def __init__(self, pipe: BinaryIO, kind: str):
        self._pipe = pipe
        self._type, self._scale, _ = RAW_FORMATS[kind]

    def write(self, wav: np.ndarray) -> None:
        """Append (C, n) and pass it on at once."""
        samples = wav.T.astype(np.float64) * self._scale
        if self._scale > 1:
            samples = np.rint(samples).clip(-self._scale, self._scale - 1)
        self._pipe.write(samples.astype(self._type).tobytes())
        self._pipe.flush()

    def __enter__(self) -> "RawWriter":
        return self

    def __exit__(self, *_: object) -> None:
        pass
