"""Echo of a loudspeaker in a microphone, simulated from any folders of speech and noise.

    microphone = h_near * near + h_far * loudspeaker(far, some ms later) + noise

with h_near and h_far responses of one room, near and far speech of different speakers. The reference is the clean far
signal; the targets are the three summands. Without near speech this is far-end single talk, without far speech
near-end single talk, with both double talk.
"""

from collections.abc import Sequence

import numpy as np
import soxr
import torch
from mmengine.registry import DATASETS
from scipy.signal import fftconvolve

from toolkit.audio.datasets import Sample, SpeechSource, find_audio, read_part, sample_generator
from toolkit.audio.simulate import room_response
from toolkit.errors import UserError

SCENARIOS = ("far", "near", "double")


def active_level(signal: np.ndarray) -> float:
    """Root mean square of the 32nds of `signal` (T,) within 30 dB of the loudest: pauses do not count."""
    powers = np.array([np.mean(np.square(part, dtype=np.float64)) for part in np.array_split(signal, 32)])
    return float(np.sqrt(powers[powers >= powers.max() / 1000].mean()))


def at_level(signal: np.ndarray, decibels: float) -> np.ndarray:
    """`signal` (T,) with that active level in dBFS; silence stays silence."""
    return signal * np.float32(10 ** (decibels / 20) / max(active_level(signal), 1e-6))


def distorted(rng: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """What a small loudspeaker without memory makes of `signal` (T,).

    One of: clipping at 60 to 100 % of the peak; x + a x^2 + b x^3; a sigmoid that is steeper on one side.
    """
    peak = max(float(np.abs(signal).max()), 1e-6)
    x = signal / peak
    kind = rng.integers(3)
    if kind == 0:
        bound = rng.uniform(0.6, 1)
        x = x.clip(-bound, bound)
    elif kind == 1:
        x = x + rng.uniform(-0.2, 0.2) * x**2 + rng.uniform(-0.3, 0.1) * x**3
    else:
        gain = rng.uniform(0.5, 2)
        x = np.tanh(gain * x * np.where(x > 0, rng.uniform(1, 1.5), 1)) / gain
    return (x * peak).astype(np.float32)


def two_responses(rng: np.random.Generator, rate: int, reverberation: float) -> tuple[np.ndarray, np.ndarray]:
    """What a microphone in a random room, 3 to 8 m wide, hears of a talker and of a loudspeaker: two (T,)."""
    size = rng.uniform((3, 3, 2.4), (8, 6, 3.5))
    microphone, talker, speaker = rng.uniform(0.3, 0.9, (3, 3)) * (size - 0.2)
    return tuple(
        room_response(rng, rate, tuple(size), tuple(source), tuple(microphone), reverberation)
        for source in (talker, speaker)
    )


@DATASETS.register_module()
class EchoDataset:
    """Simulated microphones with echo.

    An item is `dict(inputs=(2, T) microphone and reference, targets=(3, T) near speech, echo, noise)`, float32 in
    [-1, 1]; the targets add up to the microphone.

    Args:
        speech: folders of speech, arguments of `toolkit.audio.datasets.Speakers`.
        noise: a folder of noise, arguments of `toolkit.audio.datasets.find_audio`.
        length: items in an epoch.
        seconds: length of an item.
        sample_rate: in Hz.
        scenarios: "far", "near" or "double" talk of the items in turn.
        echo_ratio: near speech over echo in dB, drawn from between the two.
        noise_ratio: the louder of speech and echo over noise in dB, drawn from between the two.
        delay: from reference to echo in seconds, drawn from between the two.
        reverberation: T60 of the room in seconds, drawn from between the two.
        distortion: part of the items whose loudspeaker distorts, 0 to 1.
        speed: clips are played this many times as fast, with their pitch, drawn from between the two.
        rooms: number of rooms.
        seed: None for other items in each epoch; a number for the same items always. Rooms are fixed by it as well.

    Raises:
        UserError: no speech or noise, fewer than two speakers, or an unknown scenario.
    """

    def __init__(
        self,
        speech: Sequence[dict],
        noise: dict,
        length: int,
        seconds: float,
        sample_rate: int,
        scenarios: Sequence[str] = SCENARIOS,
        echo_ratio: tuple[float, float] = (-10.0, 10.0),
        noise_ratio: tuple[float, float] = (10.0, 40.0),
        delay: tuple[float, float] = (0.0, 0.06),
        reverberation: tuple[float, float] = (0.1, 0.4),
        distortion: float = 0.5,
        speed: tuple[float, float] = (1.0, 1.0),
        rooms: int = 200,
        seed: int | None = None,
    ):
        wrong = [name for name in scenarios if name not in SCENARIOS]
        if wrong or not scenarios:
            raise UserError(f"EchoDataset: scenarios={list(scenarios)!r} must be some of {', '.join(SCENARIOS)}")
        self.speech = SpeechSource(speech)
        if sum(len(folder.names) for folder in self.speech.folders) < 2:
            raise UserError(f"EchoDataset: the far and the near end take two speakers, {list(speech)} has one")
        self.noise = find_audio(**noise)
        self.length, self.seconds, self.sample_rate = length, seconds, sample_rate
        self.scenarios, self.echo_ratio, self.noise_ratio = tuple(scenarios), echo_ratio, noise_ratio
        self.delay, self.distortion, self.speed, self.seed = delay, distortion, speed, seed
        rng = np.random.default_rng(seed or 0)
        self.rooms = [two_responses(rng, sample_rate, rng.uniform(*reverberation)) for _ in range(rooms)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.simulate(sample_generator(self.seed, index), self.scenarios[index % len(self.scenarios)])

    def simulate(self, rng: np.random.Generator, scenario: str) -> Sample:
        """One item."""
        rate = self.sample_rate
        far, near = self._talk(rng)
        near_response, far_response = self.rooms[rng.integers(len(self.rooms))]
        played = distorted(rng, far) if rng.random() < self.distortion else far
        late = int(rng.uniform(*self.delay) * rate)
        played = np.concatenate((np.zeros(late, np.float32), played))
        parts = {
            "near": at_level(fftconvolve(near, near_response)[: len(near)], 0),
            "far": at_level(fftconvolve(played, far_response)[: len(far)], -rng.uniform(*self.echo_ratio)),
        }
        for name in parts:
            if scenario not in (name, "double"):
                parts[name] = np.zeros_like(parts[name])
        noise, noise_rate = read_part(self.noise[rng.integers(len(self.noise))], rng, self.seconds + 0.01, loop=True)
        noise = soxr.resample(noise, noise_rate, rate)[: len(near)]
        loudest = 20 * np.log10(max(map(active_level, parts.values())) + 1e-6)
        noise = at_level(noise, loudest - rng.uniform(*self.noise_ratio))

        targets = np.stack((parts["near"], parts["far"], noise)).astype(np.float32)
        microphone = targets.sum(0)
        gain = 10 ** (rng.uniform(-35, -15) / 20) / max(active_level(microphone), 1e-6)
        gain = min(gain, 0.95 / max(np.abs(targets).max(), np.abs(microphone).max(), 1e-6))
        reference = at_level(far, rng.uniform(-32, -15)) if scenario != "near" else np.zeros_like(far)
        reference = reference / max(1, np.abs(reference).max())
        return dict(
            inputs=torch.from_numpy(np.stack((microphone * gain, reference)).astype(np.float32)),
            targets=torch.from_numpy((targets * gain).astype(np.float32)),
        )

    def _talk(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Far and near speech (T,) of two speakers."""
        far = near = self.speech.speaker(rng)
        while near is far:
            near = self.speech.speaker(rng)
        return tuple(
            self.speech.utterance(rng, files, self.seconds, self.sample_rate, rng.uniform(*self.speed))[0]
            for files in (far, near)
        )
