"""Sample rates changed in blocks, with no delay and an exact length.

The SoX Resampler library, https://sourceforge.net/p/soxr/wiki/Home/: sample n of the output is the input at time
n / rate_out.
"""

import numpy as np
import soxr


class Resampler:
    """One signal of C channels on its way from one rate to another; equal rates pass through.

    What all calls of `push` and `finish` give together has ceil(T * rate_out / rate_in) samples for T samples in, and
    does not depend on the sizes of the blocks beyond rounding.

    Args:
        rate_in: in Hz.
        rate_out: in Hz.
        channels: C.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int):
        self.rate_in, self.rate_out = rate_in, rate_out
        self._taken = self._given = 0
        self._stream = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality="HQ")
        self._empty = np.zeros((0, channels), np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        """(C, n) -> (C, m): what is certain after these samples, which may be nothing."""
        if self._stream is None:
            return block
        self._taken += block.shape[1]
        if block.shape[1] == 0:
            return self._empty.T
        done = self._stream.resample_chunk(np.ascontiguousarray(block.T))
        self._given += len(done)
        return done.T

    def finish(self) -> np.ndarray:
        """The rest: (C, m), as with silence after the last sample."""
        if self._stream is None:
            return self._empty.T
        missing = -(-self._taken * self.rate_out // self.rate_in) - self._given
        silence = np.zeros((2 * self.rate_in // self.rate_out + 2, self._empty.shape[1]), np.float32)
        rest = self._stream.resample_chunk(silence, last=True)
        return rest[:missing].T


def resample(wav: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """A whole wav: (C, T) or (T,) float32 -> (..., ceil(T * rate_out / rate_in))."""
    signal = np.atleast_2d(wav).astype(np.float32, copy=False)
    resampler = Resampler(rate_in, rate_out, len(signal))
    done = np.concatenate((resampler.push(signal), resampler.finish()), 1)
    return done if wav.ndim == 2 else done[0]
