"""Simulated rooms obey acoustics; noises have the spectra and levels that they promise."""

import numpy as np
import pytest

from toolkit.audio.simulate import (
    KINDS,
    SPEED_OF_SOUND,
    babble,
    random_room,
    room_response,
    rumble,
    shaped_noise,
    synthetic_noise,
)

RATE = 16000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("seconds", [0.3, 0.7])
def test_reverberation_time(rng, seconds):
    response = room_response(rng, RATE, (5, 4, 3), (1, 1, 1.5), (3, 2, 1.2), seconds)
    decay = np.cumsum(response[::-1].astype(float) ** 2)[::-1]
    decay = 10 * np.log10(decay / decay[0])
    measured = 2 * (np.argmax(decay < -35) - np.argmax(decay < -5)) / RATE
    assert measured == pytest.approx(seconds, rel=0.15)


def test_first_reflection_comes_when_its_path_says(rng):
    """Source and microphone 1 m above a floor, 2 m apart, far from all other walls."""
    response = room_response(rng, RATE, (40, 40, 40), (20, 20, 1), (22, 20, 1), 5.0, early=0.03)
    extra = (np.sqrt(8) - 2) / SPEED_OF_SOUND * RATE
    place = int(np.abs(response[9:400]).argmax()) + 9
    assert response[8] == pytest.approx(1, abs=0.01)
    assert place == pytest.approx(8 + extra, abs=1)
    assert np.abs(response[place - 1 : place + 2]).max() < 2 / np.sqrt(8) + 0.01


def test_rooms_start_with_the_direct_sound(rng):
    for _ in range(5):
        response = random_room(rng, RATE)
        assert np.isfinite(response).all()
        assert response[8] == pytest.approx(1, abs=0.3)
        assert np.abs(response[:7]).max() < 0.3


@pytest.mark.parametrize("slope", [0.0, -3.0, -6.0])
def test_slope_of_the_spectrum(rng, slope):
    power = np.abs(np.fft.rfft(shaped_noise(rng, 8 * RATE, RATE, slope))) ** 2
    bands = [10 * np.log10(power[8 * f : 8 * f + 8 * f // 4].mean()) for f in (500, 1000, 2000, 4000)]
    np.testing.assert_allclose(np.diff(bands), slope, atol=0.8)


@pytest.mark.parametrize("kind", [*KINDS, synthetic_noise, rumble])
def test_noises_have_unit_level_and_depend_on_the_seed(kind):
    first, again, other = (kind(np.random.default_rng(seed), 8000, RATE) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert np.mean(first.astype(float) ** 2) == pytest.approx(1, rel=1e-3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.corrcoef(first, other)[0, 1]) < 0.5


def test_babble_has_every_voice(rng):
    voices = [shaped_noise(rng, 4000, RATE, 0) for _ in range(4)]
    mixed = babble(rng, voices)
    for voice in voices:
        correlation = np.fft.irfft(np.fft.rfft(mixed) * np.fft.rfft(voice).conj())
        assert np.abs(correlation).max() / len(voice) > 0.1


def test_rumble_is_below_the_voice(rng):
    power = np.abs(np.fft.rfft(rumble(rng, 2 * RATE, RATE))) ** 2
    assert power[: 2 * 110].sum() > 0.98 * power.sum()
