"""Microphone and loudspeaker recordings that did not start together.

The Generalized Correlation Method for Estimation of Time Delay, Knapp and Carter, IEEE Transactions on Acoustics,
Speech, and Signal Processing 1976, https://doi.org/10.1109/TASSP.1976.1162830 (phase transform, summed over segments)
"""

import numpy as np

from toolkit.audio.files import SoundReader
from toolkit.audio.resampling import Resampler

RATE = 8000  # of the signals that are compared
LONGEST = 300.0  # seconds from the start that are compared
CLEAR = 10.0  # times the root mean square of the correlation that its peak must be to count
SILENCE = 1e-10  # power


def find_delay(microphone: np.ndarray, reference: np.ndarray, bound: float) -> float | None:
    """How much later than in the reference a sound is in the microphone, in seconds; None where that is not clear.

    Args:
        microphone: (T,) at 8 kHz.
        reference: (T',) at 8 kHz.
        bound: the delay is looked for from -bound to bound seconds.
    """
    reach = round(bound * RATE)
    size = 1 << max(14, (4 * reach).bit_length())  # a segment of the microphone is half of that, against all of it
    reference = np.pad(reference, (size // 4, size))
    total = np.zeros(size // 2 + 1, complex)
    for start in range(0, len(microphone), size // 2):
        heard = microphone[start : start + size // 2]
        played = reference[start : start + size]
        if len(played) < size or min(np.square(heard).mean(), np.square(played).mean()) < SILENCE:
            continue
        cross = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played))
        total += cross / (np.abs(cross) + 1e-12)
    correlation = np.abs(np.roll(np.fft.irfft(total, size), -size // 4))  # index of lag 0: size // 2
    lags = correlation[size // 2 - reach : size // 2 + reach + 1]
    peak = int(lags.argmax())
    if lags[peak] <= CLEAR * np.sqrt(np.square(lags).mean()):
        return None
    return (peak - reach) / RATE


def delay_between(microphone: SoundReader, reference: SoundReader, bound: float) -> float | None:
    """`find_delay` between two files, from their first five minutes; both are at their start again afterwards."""
    return find_delay(_mono(microphone), _mono(reference), bound)


def _mono(reader: SoundReader) -> np.ndarray:
    """The start of a file as one channel at `RATE`."""
    resampler = Resampler(reader.sample_rate, RATE, 1)
    parts, left = [], round(LONGEST * reader.sample_rate)
    while left > 0 and (block := reader.read(min(left, reader.sample_rate))).shape[1]:
        parts.append(resampler.push(block.mean(0, keepdims=True)))
        left -= block.shape[1]
    reader.seek(0)
    return np.concatenate([*parts, resampler.finish()], 1)[0]


class Reference:
    """A reference file as one channel at the microphone's rate, moved in time, with silence after its end.

    Args:
        reader: the file.
        rate: in Hz, the microphone's.
        later: seconds by which it is moved; negative leaves out its start.
    """

    def __init__(self, reader: SoundReader, rate: int, later: float = 0.0):
        self._reader, self._resampler = reader, Resampler(reader.sample_rate, rate, 1)
        self._waiting = np.zeros((1, max(0, round(later * rate))), np.float32)
        self._skip = max(0, -round(later * rate))
        self._ended = False

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples: (1, count)."""
        while self._waiting.shape[1] < count and not self._ended:
            block = self._reader.read(max(count, self._reader.sample_rate))
            self._ended = block.shape[1] == 0
            more = self._resampler.finish() if self._ended else self._resampler.push(block.mean(0, keepdims=True))
            skipped = min(self._skip, more.shape[1])
            self._skip -= skipped
            self._waiting = np.concatenate((self._waiting, more[:, skipped:]), 1)
        done, self._waiting = self._waiting[:, :count], self._waiting[:, count:]
        return np.pad(done, ((0, 0), (0, count - done.shape[1])))
