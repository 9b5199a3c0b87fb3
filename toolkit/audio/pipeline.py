"""Audio of any rate, length and number of channels through a network, in blocks and constant memory.

    network rate:   low = resample(x),  y = network(low)
    file rate:      wet = resample(y) + g * (x - resample(low)),    out = a * x + (1 - a) * wet, limited

x - resample(low) is what the network's rate cannot hold: the band above. It goes on with the gain g that the network
gave to the top of its own band, so that a network that changes nothing gives x back. All stages are in step: sample n
of the output belongs to sample n of the input, and there are as many.
"""

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.optimize import linear_sum_assignment
from torch import nn

from toolkit.audio.resampling import Resampler
from toolkit.audio.spectral import SpectralModel
from toolkit.audio.windows import Windows

DEFAULT_WINDOWS = Windows(one_pass=30, window=10, stride=8, drop=0)
SPEAKERS = Windows(one_pass=6, window=6, stride=4.5, drop=0)  # at least, to follow speakers through pauses
CEILING = 0.999  # of the output, where the input has no higher peak


class Queue:
    """Samples that wait: the last axis grows at the end and shrinks at the start."""

    def __init__(self, shape: tuple[int, ...]):
        self._blocks = [np.zeros((*shape, 0), np.float32)]
        self.length = 0

    def put(self, block: np.ndarray) -> None:
        if block.shape[-1]:
            self._blocks.append(block)
            self.length += block.shape[-1]

    def peek(self) -> np.ndarray:
        """All that wait."""
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks, -1)]
        return self._blocks[0]

    def take(self, count: int | None = None) -> np.ndarray:
        """The first `count` of them, by default all, which then wait no longer."""
        waiting = self.peek()
        count = self.length if count is None else count
        # a copy: a view would keep the whole block in memory
        self._blocks, self.length = [waiting[..., count:].copy()], self.length - count
        return waiting[..., :count]


class CausalStage:
    """A `SpectralModel` on (C, I, n) blocks: C signals of I inputs each -> (C, S, m)."""

    def __init__(self, network: SpectralModel):
        self._stream = network.stream()
        self._late = self._stream.latency

    def push(self, block: np.ndarray) -> np.ndarray:
        return self._aligned(self._stream.push(block))

    def _aligned(self, done: np.ndarray) -> np.ndarray:
        dropped = min(self._late, done.shape[-1])
        self._late -= dropped
        return done[..., dropped:]

    def finish(self) -> np.ndarray:
        return self._aligned(self._stream.flush().cpu().numpy())


def speaker_order(before: np.ndarray, now: np.ndarray) -> list[int]:
    """The outputs of `now` in the order of the speakers in `before`, both (S, n): the order of least squared error."""
    return linear_sum_assignment(np.nan_to_num(before @ now.T), maximize=True)[1].tolist()


class Levels:
    """Gains that make the outputs of a separation add up to the mixture, from all windows so far.

    A network trained with a scale-invariant loss leaves the level of each output open. The gains are the least
    squares solution of mixture = sum of gain * output.
    """

    def __init__(self, outputs: int):
        self._products = np.zeros((outputs, outputs))
        self._target = np.zeros(outputs)

    def gains(self, outputs: np.ndarray, mixture: np.ndarray) -> np.ndarray:
        """(S, n), (n,) -> (S, 1)."""
        self._products += outputs.astype(np.float64) @ outputs.T
        self._target += outputs.astype(np.float64) @ mixture
        # a little drawn to the one gain that suits all, for outputs in which nobody has spoken yet
        floor = 1e-3 * np.trace(self._products) / len(outputs) + 1e-12
        common = (self._target.sum() + floor) / (self._products.sum() + floor)
        regular = self._products + floor * np.eye(len(outputs))
        return np.linalg.solve(regular, self._target + floor * common)[:, None].astype(np.float32)


class WindowStage:
    """A network that needs the future on (C, I, n) blocks -> (C, S, m), in windows that fade into each other.

    Audio up to `windows.one_pass` goes through whole. Of longer audio each window overlaps the next by window -
    stride; the last is moved back to end with the audio. Where there are several outputs, those of a window are put
    in the order that agrees best with the window before in the overlap, and those of a further channel in the order of
    the first one. For that these windows are at least 6 s long; and where nobody speaks in the overlap, it is made
    longer, up to three quarters of the window, until it holds a tenth of the window's energy.

    Args:
        network: (B, T) for each input -> (B, S, T). Without `windows` of its own it gets `DEFAULT_WINDOWS`.
        channels: C.
    """

    def __init__(self, network: nn.Module, channels: int):
        self._network, windows = network, getattr(network, "windows", None) or DEFAULT_WINDOWS
        rate, inputs, outputs = network.sample_rate, len(network.inputs), len(network.outputs)
        self._least = round(windows.least * rate)
        if outputs > 1 and windows.window < SPEAKERS.window:
            windows = SPEAKERS
        self._window, self._stride = round(windows.window * rate), round(windows.stride * rate)
        self._limit = max(round(windows.one_pass * rate), self._window)  # of what is worked on at once
        self._waiting = Queue((channels, inputs))
        self._past = np.zeros((channels, inputs, 0), np.float32)  # the input before what waits
        self._tail = np.zeros((channels, outputs, 0), np.float32)  # end of the last window, to be faded out
        self._levels = [Levels(outputs) for _ in range(channels)]

    def push(self, block: np.ndarray) -> np.ndarray:
        self._waiting.put(block)
        done = [self._tail[..., :0]]
        while self._waiting.length > self._limit:
            self._limit = self._window
            signals = self._waiting.peek()[..., : self._window]
            estimate = self._joined(signals, 0)
            stride = self._stride if estimate.shape[1] == 1 else self._stride_after(signals[:, 0])
            self._past = self._waiting.take(stride)
            self._tail = estimate[..., stride:]
            done.append(estimate[..., :stride])
        return np.concatenate(done, -1)

    def _stride_after(self, mixture: np.ndarray) -> int:
        """From the start of a window (C, n) to the start of the next."""
        energy = np.cumsum(np.square(mixture[:, ::-1], dtype=np.float64).sum(0))  # of the last 1, 2, 3 ... samples
        overlap = int(np.searchsorted(energy, 0.1 * energy[-1]))
        return min(self._stride, max(self._window - overlap, self._window // 4))

    def finish(self) -> np.ndarray:
        rest = self._waiting.take()
        before = min(self._past.shape[-1], max(0, self._window - rest.shape[-1]))
        return self._joined(np.concatenate((self._past[..., self._past.shape[-1] - before :], rest), -1), before)

    def _joined(self, signals: np.ndarray, before: int) -> np.ndarray:
        """Estimates of (C, I, n) from sample `before` on, faded in over the end of the window before: (C, S, m)."""
        fade = self._tail.shape[-1]
        rise = np.square(np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)))
        done: list[np.ndarray] = []
        for channel, signal in enumerate(signals):
            estimate = self._run(signal)
            if len(estimate) > 1:
                reference = self._tail[channel] if fade else done[0] if done else None
                estimate = self._in_order(estimate, reference, channel, signal[0], before)
            estimate = estimate[:, before:].copy()
            estimate[:, :fade] = self._tail[channel] * (1 - rise) + estimate[:, :fade] * rise
            done.append(estimate)
        return np.stack(done)

    def _in_order(
        self, estimate: np.ndarray, reference: np.ndarray | None, channel: int, mixture: np.ndarray, before: int
    ) -> np.ndarray:
        """The outputs of a separation (S, n) in the order of `reference`, which is at its start, and at their level."""
        if reference is not None:
            alone = estimate * Levels(len(estimate)).gains(estimate, mixture)
            estimate = estimate[speaker_order(reference, alone[:, before : before + reference.shape[1]])]
        return estimate * self._levels[channel].gains(estimate, mixture)

    @torch.inference_mode()
    def _run(self, signals: np.ndarray) -> np.ndarray:
        """(I, n) -> (S, n)."""
        length = signals.shape[1]
        padded = torch.from_numpy(np.pad(signals, ((0, 0), (0, max(0, self._least - length)))))
        device = next((weight.device for weight in self._network.parameters()), torch.device("cpu"))
        estimate = self._network(*padded[:, None].to(device))[0]
        return estimate[:, :length].float().cpu().numpy()


class TopGain:
    """The gain of a network at the top of its band, ten milliseconds by ten milliseconds.

    Args:
        rate: the network's, in Hz.
        band: lower and upper end in Hz of what counts as the top.
        shape: of the gains at one time: (C, S).
    """

    def __init__(self, rate: int, band: tuple[float, float], shape: tuple[int, int]):
        self.step = rate // 100
        self._window = np.hanning(2 * self.step + 1)[:-1].astype(np.float32)
        bins = np.fft.rfftfreq(2 * self.step, 1 / rate)
        self._bins = (bins >= band[0]) & (bins <= band[1])
        channels, outputs = shape
        self._low, self._out = Queue((channels, 1)), Queue((channels, outputs))
        self._low.put(np.zeros((channels, 1, self.step), np.float32))
        self._out.put(np.zeros((channels, outputs, self.step), np.float32))

    def push(self, low: np.ndarray, out: np.ndarray) -> np.ndarray:
        """(C, n) into the network and (C, S, m) out of it -> (C, S, k), gains at times 0, 10, 20 ms ..."""
        self._low.put(low[:, None])
        self._out.put(out)
        count = min(self._low.length, self._out.length) // self.step - 1
        if count < 1:
            return np.ones((*out.shape[:2], 0), np.float32)
        into, came = self._energy(self._low, count), self._energy(self._out, count)
        self._low.take(count * self.step)
        self._out.take(count * self.step)
        return np.sqrt(np.minimum((came + 1e-9) / (into + 1e-9), 1)).astype(np.float32)

    def _energy(self, queue: Queue, count: int) -> np.ndarray:
        signal = queue.peek()[..., : (count + 1) * self.step]
        frames = np.lib.stride_tricks.sliding_window_view(signal, 2 * self.step, -1)[..., :: self.step, :]
        return np.square(np.abs(np.fft.rfft(frames * self._window)[..., self._bins])).sum(-1)


class BandAbove:
    """What lies above the network's band, with the gain of `TopGain`: (C, n) at the file's rate -> (C, S, m)."""

    def __init__(self, rate: int, network_rate: int, shape: tuple[int, int]):
        top = min(rate, network_rate) / 2
        self._gain = TopGain(network_rate, (0.7 * top, 0.9 * top), shape)
        self._back = Resampler(network_rate, rate, shape[0])
        self._seconds = self._gain.step / network_rate  # between gains
        self._rate, self._position = rate, 0
        self._input, self._held = Queue((shape[0],)), Queue((shape[0],))
        self._gains, self._first = np.ones((*shape, 0), np.float32), 0  # the first is that of time first * seconds

    def push(self, block: np.ndarray, low: np.ndarray, out: np.ndarray) -> np.ndarray:
        self._input.put(block)
        self._held.put(self._back.push(low))
        self._gains = np.concatenate((self._gains, self._gain.push(low, out)), -1)
        known = int((self._first + self._gains.shape[-1] - 1) * self._seconds * self._rate) - self._position
        return self._above(max(0, min(self._input.length, self._held.length, known)))

    def _above(self, count: int) -> np.ndarray:
        above = self._input.take(count) - self._held.take(count)
        gains = self._gains if self._gains.shape[-1] else np.ones((*self._gains.shape[:2], 1), np.float32)
        times = np.arange(self._position, self._position + count) / (self._rate * self._seconds) - self._first
        left = np.clip(times.astype(int), 0, gains.shape[-1] - 1)
        right = np.minimum(left + 1, gains.shape[-1] - 1)
        share = np.clip(times - left, 0, 1).astype(np.float32)
        gain = gains[..., left] * (1 - share) + gains[..., right] * share
        self._position += count
        old = min(int(self._position / (self._rate * self._seconds)) - self._first, self._gains.shape[-1] - 1)
        if old > 0:
            self._gains, self._first = self._gains[..., old:], self._first + old
        return above[:, None] * gain

    def finish(self, low: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The rest, after the last of `low` and `out`."""
        done = self.push(self._input.peek()[:, :0], low, out)
        self._held.put(self._back.finish())
        missing = self._input.length - self._held.length
        self._held.put(np.zeros((len(self._held.peek()), max(0, missing)), np.float32))
        return np.concatenate((done, self._above(self._input.length)), -1)


class Limiter:
    """Keeps (S, C, n) below the ceiling by turning it down smoothly around peaks; other samples stay untouched.

    The ceiling is 0.999, or the input's own peak where that is higher. The channels of an output are turned down
    together, so that the stereo image stays.
    """

    def __init__(self, rate: int, shape: tuple[int, int]):
        self._reach = max(1, round(0.005 * rate))  # samples before and after a peak
        self._waiting = Queue(shape)
        self._waiting.put(np.zeros((*shape, 2 * self._reach), np.float32))
        self._ceiling = CEILING

    def push(self, block: np.ndarray, peak: float) -> np.ndarray:
        """`block` and the input's highest peak so far -> what is then certain."""
        self._ceiling = max(self._ceiling, peak)
        self._waiting.put(block)
        count = self._waiting.length - 4 * self._reach
        if count <= 0:
            return block[..., :0]
        signal = self._waiting.peek()
        inner = slice(2 * self._reach, 2 * self._reach + count)
        done = signal[..., inner]
        if np.abs(signal).max(initial=0) > self._ceiling:
            done = done * self._gain(signal)[:, None, inner]
        self._waiting.take(count)
        return done

    def _gain(self, signal: np.ndarray) -> np.ndarray:
        """(S, C, n) -> (S, n). A mean of minima over as wide a reach is nowhere above what the peak needs."""
        needed = np.minimum(1, self._ceiling / np.maximum(np.abs(signal).max(1), 1e-9))
        width = 2 * self._reach + 1
        lowest = minimum_filter1d(needed, width, mode="nearest")
        return np.minimum(uniform_filter1d(lowest, width, mode="nearest"), needed).astype(np.float32)

    def finish(self) -> np.ndarray:
        shape = self._waiting.peek().shape
        return self.push(np.zeros((*shape[:2], 2 * self._reach), np.float32), 0.0)


class Pipeline:
    """A network on a signal of any rate and number of channels: `push` blocks, then `finish`.

    Each channel goes through the network by itself. In total there come out as many samples as went in, none of them
    shifted in time.

    Args:
        network: a `SpectralModel`, or any that maps (B, T) for each input to (B, S, T) and has `sample_rate`,
            `inputs`, `outputs` and `windows`.
        rate: of the signal, in Hz.
        channels: C of the signal.
        outputs: S, how many of the network's outputs are wanted, the first ones.
        mix: share of the input in the output, 0 to 1.
    """

    def __init__(self, network: nn.Module, rate: int, channels: int, outputs: int, mix: float = 0.0):
        self._inputs, self._outputs, self._mix = len(network.inputs), outputs, np.float32(mix)
        self._channels = channels
        causal = isinstance(network, SpectralModel)
        self._stage = CausalStage(network) if causal else WindowStage(network, channels)
        self._down = Resampler(rate, network.sample_rate, channels + self._inputs - 1)
        self._up = Resampler(network.sample_rate, rate, channels * self._outputs)
        shape = (channels, self._outputs)
        self._above = None if rate == network.sample_rate else BandAbove(rate, network.sample_rate, shape)
        self._dry, self._wet, self._high = Queue((channels,)), Queue(shape), Queue(shape)
        self._limiter = Limiter(rate, (self._outputs, channels))
        self._peak = 0.0

    def push(self, block: np.ndarray) -> np.ndarray:
        """(C, n), or (C + I - 1, n) with the further inputs' signals last -> (S, C, m)."""
        dry = block[: self._channels]
        self._dry.put(dry)
        self._peak = max(self._peak, float(np.abs(dry).max(initial=0)))
        low = self._down.push(block)
        out = self._stage.push(self._for_network(low))[:, : self._outputs]
        self._wet.put(self._at_file_rate(self._up.push(self._flat(out))))
        if self._above is not None:
            self._high.put(self._above.push(dry, low[: self._channels], out))
        return self._mixed()

    def _for_network(self, low: np.ndarray) -> np.ndarray:
        """(C + I - 1, n) -> (C, I, n): each channel with the further inputs."""
        further = np.broadcast_to(low[None, self._channels :], (self._channels, self._inputs - 1, low.shape[1]))
        return np.concatenate((low[: self._channels, None], further), 1)

    def _flat(self, out: np.ndarray) -> np.ndarray:
        return out.reshape(self._channels * self._outputs, -1)

    def _at_file_rate(self, flat: np.ndarray) -> np.ndarray:
        return flat.reshape(self._channels, self._outputs, flat.shape[-1])

    def _mixed(self) -> np.ndarray:
        """All that has come through every stage: (S, C, m)."""
        count = min(self._dry.length, self._wet.length)
        if self._above is not None:
            count = min(count, self._high.length)
        wet, dry = self._wet.take(count), self._dry.take(count)
        if self._above is not None:
            wet = wet + self._high.take(count)
        mixed = dry[:, None] * self._mix + wet * (1 - self._mix) if self._mix else wet
        return self._limiter.push(mixed.swapaxes(0, 1), self._peak)

    def finish(self) -> np.ndarray:
        """The rest: (S, C, m)."""
        low = self._down.finish()
        last = self._stage.push(self._for_network(low))
        out = np.concatenate((last, self._stage.finish()), -1)[:, : self._outputs]
        self._wet.put(self._at_file_rate(np.concatenate((self._up.push(self._flat(out)), self._up.finish()), -1)))
        if self._above is not None:
            self._high.put(self._above.finish(low[: self._channels], out))
        return np.concatenate((self._mixed(), self._limiter.finish()), -1)
