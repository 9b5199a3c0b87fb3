from pathlib import Path

import numpy as np
import pytest
import soundfile

from toolkit.audio.alignment import RATE, Reference, find_delay
from toolkit.audio.files import SoundReader


def talk(seconds: float, seed: int) -> np.ndarray:
    """Coloured noise with pauses: (T,) at 8 kHz."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.standard_normal(round(seconds * RATE)), np.ones(6) / 6, "same")
    return noise * np.repeat(rng.random(round(seconds) + 1) > 0.4, RATE)[: len(noise)]


@pytest.mark.parametrize("delay", [-4.2, -0.35, 0.0, 0.02, 1.7, 4.9])
def test_delays_are_found_under_noise_and_other_talk(delay: float):
    far, near = talk(40, 0), talk(40, 1)
    shift = round(delay * RATE)
    echo = np.pad(far, (max(shift, 0), 0))[max(-shift, 0) :][: len(near)]
    echo = np.pad(echo, (0, len(near) - len(echo)))
    room = np.exp(-np.arange(800) / 200) * np.random.default_rng(2).standard_normal(800)
    room[0] = 3
    heard = np.convolve(echo, room)[: len(near)] * 0.3 + near
    assert find_delay(heard, far, 5) == pytest.approx(delay, abs=0.002)


def test_strangers_have_no_delay():
    assert find_delay(talk(30, 0), talk(30, 1), 5) is None
    assert find_delay(np.zeros(RATE), talk(30, 1), 5) is None


@pytest.mark.parametrize("later", [-0.25, 0.0, 0.1])
def test_references_are_moved_and_followed_by_silence(later: float, tmp_path: Path):
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, 8000, "FLOAT")
    with SoundReader(tmp_path / "a.wav") as reader:
        reference = Reference(reader, 8000, later)
        got = np.concatenate([reference.read(count) for count in (1, 999, 4000, 3000)], 1)[0]
    shift = round(later * 8000)
    expected = np.pad(wav.mean(1), (max(shift, 0), 8000))[max(-shift, 0) :][:8000]
    np.testing.assert_allclose(got, expected, atol=1e-7)
