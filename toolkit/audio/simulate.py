"""Noises and rooms made from random numbers, to train networks on more than the recordings at hand.

Every function draws from the generator that it is given. Noises are (T,) float32 with an RMS of 1.
"""

import numpy as np
from scipy import fft
from scipy.signal import oaconvolve

SPEED_OF_SOUND = 343.0  # m / s
LEAD = 8  # samples of a response before the direct sound's peak


def unit(signal: np.ndarray) -> np.ndarray:
    """The signal with an RMS of 1, as float32."""
    return (signal / np.sqrt(np.mean(signal**2) + 1e-20)).astype(np.float32)


def smooth_curve(rng: np.random.Generator, points: np.ndarray, knots: int, spread: float) -> np.ndarray:
    """A random smooth curve over `points` in [0, 1]: normal values of that spread, joined by halves of cosines."""
    values = rng.normal(0, spread, knots + 1)
    weight = 0.5 - 0.5 * np.cos(np.pi * np.arange(16) / 16)
    fine = np.append((values[:-1, None] * (1 - weight) + values[1:, None] * weight).ravel(), values[-1])
    return np.interp(points, np.linspace(0, 1, len(fine)), fine)


def octaves(frequencies: np.ndarray) -> np.ndarray:
    """Places of frequencies (Hz) on a logarithmic axis from 0 at 50 Hz to 1 at 12.8 kHz."""
    return np.clip(np.log2(np.maximum(frequencies, 1) / 50) / 8, 0, 1)


def shaped_noise(rng: np.random.Generator, length: int, rate: int, slope: float, spread: float = 0.0) -> np.ndarray:
    """Stationary noise.

    Args:
        slope: dB for each octave above 50 Hz: 0 white, -3 pink, -6 brown.
        spread: in dB, of a random curve over log frequency on top of it.
    """
    size = -(-length // 1024) * 1024
    grid = np.linspace(0, rate / 2, 1025)
    place = octaves(grid)
    decibels = 8 * slope * place + smooth_curve(rng, place, int(rng.integers(3, 12)), spread)
    decibels = np.interp(fft.rfftfreq(size, 1 / rate), grid, decibels)
    decibels[: round(20 * size / rate)] = -120
    white = fft.rfft(rng.standard_normal(size, np.float32))
    return unit(fft.irfft(white * (10 ** (decibels / 20)).astype(np.float32))[:length])


def envelope(rng: np.random.Generator, length: int, rate: int, speed: float, spread: float) -> np.ndarray:
    """A random gain over time that changes about `speed` times a second by `spread` dB."""
    knots = max(2, round(length / rate * speed))
    return 10 ** (smooth_curve(rng, np.linspace(0, 1, length), knots, spread) / 20)


def rumble(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """What most recordings have below the voice: thumps, movements of the building, drift, mains hum, 5 to 120 Hz."""
    size = fft.next_fast_len(length, real=True)
    count = int(rng.uniform(5, 90) * size / rate) + 1
    spectrum = np.zeros(size // 2 + 1, np.complex64)
    spectrum[1 : count + 1] = (rng.standard_normal((count, 2)) @ (1, 1j)) * np.arange(1, count + 1) ** -rng.uniform(
        0, 1
    )
    steady = fft.irfft(spectrum, size)[:length]
    moving = unit(steady * envelope(rng, length, rate, 2 ** rng.uniform(-2, 3), rng.uniform(0, 15)))
    if rng.random() < 0.3:
        tone = np.sin(2 * np.pi * rng.choice((50, 60, 100, 120)) * np.arange(length) / rate + rng.uniform(0, 6.3))
        moving = unit(moving + 10 ** rng.uniform(-0.7, 0.5) * tone)
    return moving


def moving_noise(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Several bands of noise that swell and fall on their own, as wind, waves and traffic do."""
    noise = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        band = shaped_noise(rng, length, rate, rng.uniform(-9, 3), rng.uniform(3, 12))
        noise += (
            band * envelope(rng, length, rate, 2 ** rng.uniform(-2, 4), rng.uniform(2, 10)) * 10 ** rng.uniform(-1, 0)
        )
    return unit(noise)


def hum(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Harmonics of a slowly drifting tone, as of motors, fans and mains."""
    base = 2 ** rng.uniform(np.log2(30), np.log2(500))
    time = np.arange(length) / rate
    drift = smooth_curve(rng, np.linspace(0, 1, length), max(2, int(time[-1] * 2)), rng.choice([0.0, 0.003, 0.03, 0.1]))
    phase = 2 * np.pi * np.cumsum(base * (1 + drift)) / rate
    count = min(int(rng.integers(2, 30)), int(0.45 * rate / base))
    turn = np.exp(1j * phase).astype(np.complex64)
    tilt, harmonic, signal = rng.uniform(-12, -1), np.ones_like(turn), np.zeros(length, np.float32)
    for k in range(1, count + 1):
        harmonic *= turn
        gain = 10 ** ((tilt * np.log2(k) + rng.normal(0, 5)) / 20) * np.exp(1j * rng.uniform(0, 6.3))
        signal += gain.real * harmonic.real - gain.imag * harmonic.imag
    return unit(signal)


def impacts(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Blows on things that ring: dishes, keys, steps, crackling; regular or at random times."""
    ring = int(0.4 * rate)
    time = np.arange(ring) / rate
    kinds = []
    low = rng.uniform(100, 3000)
    for _ in range(4):
        sound = np.zeros(ring)
        for _ in range(int(rng.integers(1, 8))):
            frequency, decay = low * 2 ** rng.uniform(0, 3), 2 ** rng.uniform(-9, -3)
            if frequency < 0.48 * rate:
                sound += rng.uniform(0.2, 1) * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time)
        sound += rng.uniform(0, 2) * rng.standard_normal(ring) * np.exp(-time / 2 ** rng.uniform(-10, -5))
        kinds.append(sound)
    each_second = 2 ** rng.uniform(-0.5, 7.5)
    count = max(1, rng.poisson(each_second * length / rate))
    if rng.random() < 0.3:
        starts = (np.arange(count) / each_second + rng.normal(0, 0.01, count)) * rate
    else:
        starts = rng.uniform(0, length, count)
    signal = np.zeros(length + ring)
    for start in np.clip(starts, 0, length - 1).astype(int):
        signal[start : start + ring] += 10 ** rng.normal(0, 0.3) * kinds[rng.integers(len(kinds))]
    return unit(signal[:length])


def calls(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Gliding tones with pauses: birds, sirens, alarms, brakes, notes of instruments."""
    signal = np.zeros(length)
    low, high = sorted(2 ** rng.uniform(np.log2(500), np.log2(0.4 * rate), 2))  # Hz, above most voices
    typical = 2 ** rng.uniform(-4, 0)  # seconds
    for _ in range(max(1, rng.poisson(0.5 * length / rate / typical * rng.uniform(0.3, 3)))):
        size = min(length, max(64, int(rate * typical * 2 ** rng.normal(0, 0.5))))
        start = rng.integers(0, length - size + 1)
        place = np.linspace(0, 1, size)
        pitch = rng.uniform(low, high) * 2 ** smooth_curve(
            rng, place, int(rng.integers(1, 8)), rng.choice([0, 0.05, 0.4])
        )
        phase = 2 * np.pi * np.cumsum(np.minimum(pitch, 0.45 * rate)) / rate
        tone = np.sin(phase)
        for k in range(2, int(rng.integers(2, 7))):
            tone += 10 ** (-rng.uniform(3, 12) * k / 20) * np.sin(k * phase) * (k * pitch < 0.48 * rate)
        rise = min(0.5, rng.uniform(0.01, 0.3))
        fade = np.minimum(np.minimum(place / rise, (1 - place) / rng.uniform(0.05, 1)), 1)
        signal[start : start + size] += 10 ** rng.normal(0, 0.2) * fade * tone
    return unit(signal)


def horns(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Chords of one to three steady tones rich in harmonics, with pauses: car horns, whistles of trains, reversing."""
    chord = 2 ** rng.uniform(np.log2(150), np.log2(1500)) * np.array((1, rng.uniform(1.1, 1.5), rng.uniform(1.5, 2.1)))
    chord = chord[: rng.integers(1, 4)]
    time = np.arange(length) / rate
    tilt, resonance, glide = rng.uniform(-9, -1), rng.uniform(300, 3000), rng.choice((0, 0, 0.03)) * rng.normal()
    sound = np.zeros(length)
    for base in chord:
        for k in range(1, min(25, int(0.45 * rate / base)) + 1):
            level = tilt * np.log2(k) - 6 * abs(np.log2(k * base / resonance)) + rng.normal(0, 4)
            turns = k * base * (time + glide * time**2 / (2 * time[-1]))
            sound += 10 ** (level / 20) * np.sin(2 * np.pi * turns + rng.uniform(0, 6.3))
    gate = np.zeros(length)
    for _ in range(max(1, rng.poisson(0.5 * length / rate))):
        start, size = rng.uniform(-0.1, 1) * length, int(rate * 2 ** rng.uniform(-3, 1))
        gate[max(0, int(start)) : max(0, int(start) + size)] = 10 ** rng.normal(0, 0.2)
    edge = np.hanning(max(3, int(rate * rng.uniform(0.01, 0.1))))
    return unit(sound * oaconvolve(gate, edge / edge.sum(), "same") + 1e-3 * rng.standard_normal(length))


def beats(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Noise in a regular rhythm, as of machines, trains and pumps."""
    speed = 2 ** rng.uniform(-1, 5)  # Hz
    phase = 2 * np.pi * speed * np.arange(length) / rate + rng.uniform(0, 6.3)
    gain = 10 ** (
        rng.uniform(0.2, 1.2) * (np.cos(phase) + 0.5 * rng.random() * np.cos(2 * phase + rng.uniform(0, 6.3)) - 1)
    )
    rhythmic = gain * shaped_noise(rng, length, rate, rng.uniform(-9, 2), rng.uniform(3, 12))
    return unit(rhythmic + rng.uniform(0, 0.5) * shaped_noise(rng, length, rate, rng.uniform(-9, 2), 6))


def steady_noise(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Stationary noise of a random colour."""
    return shaped_noise(rng, length, rate, rng.uniform(-9, 3), rng.uniform(0, 8))


KINDS = (steady_noise, moving_noise, hum, impacts, calls, beats, horns)
SHARES = (0.16, 0.25, 0.09, 0.17, 0.06, 0.14, 0.13)  # how often each is drawn first


def synthetic_noise(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """One to three kinds of noise at random levels, their sum."""
    chosen = rng.choice(len(KINDS), int(rng.integers(1, 4)), replace=False, p=SHARES)
    noise = sum(10 ** rng.uniform(-0.7, 0) * KINDS[kind](rng, length, rate) for kind in chosen)
    if rng.random() < 0.4:
        noise = noise * envelope(rng, length, rate, 2 ** rng.uniform(-2, 2), rng.uniform(1, 8))
    return unit(noise)


def babble(rng: np.random.Generator, voices: list[np.ndarray]) -> np.ndarray:
    """Voices (T,) of equal length talking at once, each at a level and a starting point of its own."""
    parts = [10 ** rng.uniform(-0.6, 0) * np.roll(unit(voice), rng.integers(len(voice))) for voice in voices]
    return unit(sum(parts))


def room_response(
    rng: np.random.Generator,
    rate: int,
    size: tuple[float, float, float],
    source: tuple[float, float, float],
    microphone: tuple[float, float, float],
    reverberation: float,
    early: float = 0.05,
) -> np.ndarray:
    """Impulse response of a box-shaped room by image sources, with a diffuse tail of noise.

    Image method for efficiently simulating small-room acoustics, JASA 1979, https://doi.org/10.1121/1.382599.
    Walls absorb alike at all frequencies, by Eyring's formula for the reverberation time.

    Args:
        rate: samples in a second.
        size: of the room in metres.
        source, microphone: places in metres from a corner.
        reverberation: seconds in which the sound falls by 60 dB.
        early: seconds after the direct sound that are made of images; what follows is noise that decays.

    Returns:
        (T,) float32; the direct sound has its peak, about 1, at sample 8, whatever the distance.
    """
    room, here, there = (np.asarray(x, float) for x in (size, microphone, source))
    volume, surface = room.prod(), 2 * (room[0] * room[1] + room[1] * room[2] + room[0] * room[2])
    reflection = np.exp(-0.0805 * volume / (surface * reverberation))  # of amplitudes: sqrt(1 - absorption)
    direct = np.linalg.norm(here - there)
    length = int((reverberation + early) * rate) + 2 * LEAD
    response = np.zeros(length + 4 * LEAD)

    reach = direct + SPEED_OF_SOUND * early
    axes = []
    for axis in range(3):
        n = np.arange(-int(reach / (2 * room[axis])) - 1, int(reach / (2 * room[axis])) + 2)
        distance = np.concatenate((2 * n * room[axis] + there[axis], 2 * n * room[axis] - there[axis])) - here[axis]
        axes.append((distance, np.concatenate((2 * abs(n), abs(n) + abs(n - 1)))))
    squares = sum(np.reshape(d**2, np.roll((-1, 1, 1), i)) for i, (d, _) in enumerate(axes))
    bounces = sum(np.reshape(b, np.roll((-1, 1, 1), i)) for i, (_, b) in enumerate(axes))
    distance = np.sqrt(squares)
    near = distance < reach
    distance, bounces = distance[near], bounces[near]
    delay = (distance - direct) / SPEED_OF_SOUND * rate + LEAD
    gain = reflection**bounces * direct / distance

    whole = delay.astype(int)
    taps = np.arange(-LEAD + 1, LEAD + 1)
    offset = taps - (delay - whole)[:, None]
    kernel = np.sinc(offset) * np.cos(np.pi * offset / (2 * LEAD + 1)) ** 2
    np.add.at(response, whole[:, None] + taps, gain[:, None] * kernel)

    start = LEAD + int(early * rate)
    time = np.arange(length - start) / rate
    if len(time):
        span = slice(max(LEAD + 1, start - int(0.02 * rate)), start)
        level = np.sqrt(np.mean(response[span] ** 2))
        response[start:length] = level * rng.standard_normal(len(time)) * 10 ** (-3 * time / reverberation)
    return response[:length].astype(np.float32)


def random_room(rng: np.random.Generator, rate: int) -> np.ndarray:
    """The response of a random room of 2 to 12 m, 0.1 to 0.8 s, between places 0.3 to 4 m apart."""
    size = rng.uniform((2.5, 2.0, 2.3), (12, 8, 4))
    microphone = rng.uniform(0.4, size - 0.4)
    while True:
        source = microphone + rng.uniform(0.3, 4) * unit(rng.standard_normal(3)) / np.sqrt(3)
        if (source > 0.2).all() and (source < size - 0.2).all():
            break
    return room_response(rng, rate, tuple(size), tuple(source), tuple(microphone), rng.uniform(0.1, 0.8))
