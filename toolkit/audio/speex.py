"""SpeexDSP's echo canceller, the classical baseline, through the package pyaec.

On Adjusting the Learning Rate in Frequency Domain Echo Cancellation With Double-Talk, IEEE Transactions on Audio,
Speech, and Language Processing 2007, arXiv 1602.08044: a partitioned block adaptive filter, and where asked for a
suppressor of residual echo and noise behind it.
"""

import numpy as np

from toolkit.errors import UserError


def cancel_echo(
    microphone: np.ndarray, reference: np.ndarray, sample_rate: int, tail: float = 0.25, suppress: bool = True
) -> np.ndarray:
    """The microphone without echo: (T,), (T,) in [-1, 1] -> (T,), in step with the microphone.

    Args:
        microphone, reference: at any level; 16 bits are used.
        sample_rate: in Hz.
        tail: length of the adaptive filter in seconds.
        suppress: take out residual echo and noise behind the filter.

    Raises:
        UserError: pyaec is not installed.
    """
    try:
        from pyaec import Aec
    except ImportError:
        raise UserError(
            "SpeexDSP's canceller needs the package pyaec: pip install 'toolkit[compare-cancellers]'"
        ) from None
    frame = sample_rate // 50
    late = frame if suppress else 0  # the suppressor gives its output one frame later
    count = -(-(len(microphone) + late) // frame)
    signals = [
        np.pad((np.clip(signal, -1, 1) * 32767).round().astype(np.int16), (0, count * frame - len(signal)))
        for signal in (microphone, reference)
    ]
    canceller, done = Aec(frame, round(tail * sample_rate), sample_rate, suppress), []
    for start in range(0, count * frame, frame):
        done += canceller.cancel_echo(*(signal[start : start + frame].tolist() for signal in signals))
    return np.array(done[late : late + len(microphone)], np.float32) / 32768
