"""An audio network as a function from recordings to recordings.

from toolkit import load_model

model = load_model("denoiser.pth")
model.predict("noisy.wav")["speech"]              # (C, T) at the file's rate
model.process_file("noisy.flac", "clean.flac")    # any length, in constant memory
stream = model.stream()                           # live: stream.push(chunk) -> chunk
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from toolkit.audio.alignment import Reference, delay_between
from toolkit.audio.files import SoundReader, SoundWriter, read_sound, write_sound
from toolkit.audio.live import Stream
from toolkit.audio.pipeline import Pipeline
from toolkit.audio.raw import RawReader, RawWriter
from toolkit.audio.resampling import resample
from toolkit.audio.spectral import SpectralModel
from toolkit.errors import UserError

REMAINDERS = ("echo", "noise")  # outputs that networks are trained with and nobody asks for
KNOWN_DELAYS = (0.0, 0.05)  # seconds from reference to echo that a network copes with by itself
LEAD = 0.01  # seconds that the echo is given where the reference has to be moved

Source = str | Path | np.ndarray


@dataclass(frozen=True)
class Sounds:
    """What a network made of a recording.

    Attributes:
        wavs: by the name of the output ("speech"; "speaker 1", "speaker 2"): an array of the recording's shape.
        sample_rate: the recording's, in Hz.
    """

    wavs: dict[str, np.ndarray]
    sample_rate: int

    def __getitem__(self, name: str) -> np.ndarray:
        return self.wavs[name]

    def save(self, path: str | Path) -> list[Path]:
        """Write every output, see `output_paths`; gives the paths."""
        paths = output_paths(path, tuple(self.wavs))
        for place, wav in zip(paths, self.wavs.values(), strict=True):
            write_sound(place, wav, self.sample_rate)
        return paths


@dataclass(frozen=True)
class Processed:
    """What `AudioProcessor.process_file` did.

    Attributes:
        paths: the files written, one for each output.
        seconds: length of the recording.
        took: seconds of work.
        notes: what the user should know about the input, a line each.
    """

    paths: list[Path]
    seconds: float
    took: float
    notes: list[str]

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio."""
        return self.took / max(self.seconds, 1e-9)


def output_paths(path: str | Path, outputs: tuple[str, ...]) -> list[Path]:
    """`path` itself for one output; for several, `path` with the output's name before its ending."""
    path = Path(path).expanduser()
    if len(outputs) == 1:
        return [path]
    return [path.with_name(f"{path.stem}_{name.replace(' ', '')}{path.suffix}") for name in outputs]


def dry_share(mix: float, max_attenuation_db: float | None) -> float:
    """Share of the input in the output.

    Raises:
        UserError: a share outside 0 to 1, or a negative attenuation.
    """
    if not 0 <= mix <= 1:
        raise UserError(f"mix {mix}: give a share of the input from 0 (none) to 1 (nothing else)")
    if max_attenuation_db is None:
        return mix
    if not max_attenuation_db >= 0:
        raise UserError(f"max_attenuation_db {max_attenuation_db}: give 0 dB or more")
    return mix + (1 - mix) * 10 ** (-max_attenuation_db / 20)


class AudioProcessor:
    """A denoiser, separator or echo canceller with weights. Made by `toolkit.load_model`.

    Attributes:
        network: the nn.Module; it has `sample_rate`, `inputs` and `outputs`.
        config: the whole config.
        sample_rate: the network's, in Hz; recordings may have any.
        inputs: names of the signals that it takes.
        outputs: names of the signals that it gives.
    """

    def __init__(self, network: nn.Module, config: Config):
        self.network = network
        self.config = config
        self.sample_rate: int = network.sample_rate
        self.inputs: tuple[str, ...] = tuple(network.inputs)
        self.outputs: tuple[str, ...] = tuple(name for name in network.outputs if name not in REMAINDERS)
        if self.outputs != tuple(network.outputs)[: len(self.outputs)]:
            raise UserError(f"{type(network).__name__}: outputs {network.outputs} must end with {REMAINDERS}")

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next((weight.device for weight in self.network.parameters()), torch.device("cpu"))

    def stream(self) -> Stream:
        """A new live stream at the network's rate: `push(chunk) -> chunk` with a stated latency.

        Raises:
            UserError: the network needs the future.
        """
        if not isinstance(self.network, SpectralModel):
            raise UserError(f"{type(self.network).__name__} is not causal and cannot run live; use predict or files")
        return self.network.stream()

    def predict(
        self,
        *sources: Source,
        sample_rate: int | None = None,
        mix: float = 0.0,
        max_attenuation_db: float | None = None,
    ) -> Sounds:
        """Work on one recording as a whole.

        Args:
            sources: for each input of the network a file, or an array (T,) or (C, T) of floats in [-1, 1]. An echo
                canceller takes the microphone, then the reference.
            sample_rate: of arrays, in Hz; None for the network's.
            mix: share of the input in the output, 0 to 1.
            max_attenuation_db: nothing is turned down by more than this; None for no bound.

        Raises:
            UserError: a file cannot be read, or there is not one source for each input.
        """
        if len(sources) != len(self.inputs):
            raise UserError(f"predict: give {len(self.inputs)} sources ({', '.join(self.inputs)}), not {len(sources)}")
        wavs, rates = zip(*(_loaded(source, sample_rate or self.sample_rate) for source in sources), strict=True)
        first = np.atleast_2d(wavs[0])
        further = []
        for wav, rate in zip(wavs[1:], rates[1:], strict=True):
            moved = resample(np.atleast_2d(wav).mean(0), rate, rates[0])[: first.shape[1]]
            further.append(np.pad(moved, (0, first.shape[1] - len(moved))))
        signals = np.concatenate((first, *(wav[None] for wav in further)))
        count = _block_size(rates[0], len(first))
        blocks = (signals[:, start : start + count] for start in range(0, signals.shape[1], count))
        share = dry_share(mix, max_attenuation_db)
        done = np.concatenate(list(self._run(blocks, rates[0], len(first), share)), -1)
        return Sounds(
            {name: wav.reshape(wavs[0].shape) for name, wav in zip(self.outputs, done, strict=True)}, rates[0]
        )

    def _run(self, blocks: Iterable[np.ndarray], rate: int, channels: int, share: float) -> Iterator[np.ndarray]:
        """Blocks (C + I - 1, n) through a `Pipeline`: blocks (S, C, m)."""
        pipeline = Pipeline(self.network, rate, channels, len(self.outputs), share)
        for block in blocks:
            yield pipeline.push(block)
        yield pipeline.finish()

    def process_file(
        self,
        source: str | Path,
        out: str | Path,
        reference: str | Path | None = None,
        mix: float = 0.0,
        max_attenuation_db: float | None = None,
        max_offset: float = 5.0,
        on_progress: Callable[[float], None] | None = None,
    ) -> Processed:
        """Work on a file of any length in constant memory; the output has its rate, channels, length and coding.

        Args:
            source: the recording.
            out: the file to write, over what is there; several outputs get names of their own, see `output_paths`.
            reference: what the loudspeaker played, for an echo canceller; of any rate and length. Its channels are
                averaged.
            mix: share of the input in the output, 0 to 1.
            max_attenuation_db: nothing is turned down by more than this; None for no bound.
            max_offset: seconds that the reference may be late or early; it is moved where a clear echo lies elsewhere.
                0 to take the files as they are.
            on_progress: called with the seconds done.

        Raises:
            UserError: a file cannot be read or written; nothing is written then.
        """
        if (reference is None) != (len(self.inputs) == 1):
            raise UserError(f"process_file: the network takes {' and '.join(self.inputs)}; give it just that")
        with ExitStack() as stack:
            reader = stack.enter_context(SoundReader(source))
            played, notes = None, []
            if reference is not None:
                reference_reader = stack.enter_context(SoundReader(reference))
                played = self._reference(reader, reference_reader, max_offset, notes)
            return self._process(reader, out, played, dry_share(mix, max_attenuation_db), notes, on_progress)

    def process_stream(
        self, reader: RawReader, out: str | Path | RawWriter, mix: float = 0.0, max_attenuation_db: float | None = None
    ) -> Processed:
        """Work on samples from a pipe as they come. The last channel is the reference where the network takes one."""
        return self._process(reader, out, None, dry_share(mix, max_attenuation_db), [], None)

    def process_to(
        self, source: str | Path, writer: RawWriter, mix: float = 0.0, max_attenuation_db: float | None = None
    ) -> Processed:
        """Work on a file and write the samples to a pipe."""
        with SoundReader(source) as reader:
            return self._process(reader, writer, None, dry_share(mix, max_attenuation_db), [], None)

    def _reference(
        self, microphone: SoundReader, reader: SoundReader, max_offset: float, notes: list[str]
    ) -> Reference:
        """`reader` in step with the microphone."""
        later = 0.0
        if max_offset > 0:
            delay = delay_between(microphone, reader, max_offset)
            if delay is not None and not KNOWN_DELAYS[0] <= delay <= KNOWN_DELAYS[1]:
                later = delay - LEAD
                notes.append(f"{reader.path.name}: its echo comes {delay:+.3f} s after it; moved by {later:+.3f} s")
        difference = reader.seconds + later - microphone.seconds
        if abs(difference) > 0.5:
            notes.append(
                f"{reader.path.name} ends {abs(difference):.1f} s {'after' if difference > 0 else 'before'} "
                f"{microphone.path.name}; {'the rest is left out' if difference > 0 else 'silence follows it'}"
            )
        return Reference(reader, microphone.sample_rate, later)

    def _process(
        self,
        reader: SoundReader | RawReader,
        out: str | Path | RawWriter,
        reference: Reference | None,
        share: float,
        notes: list[str],
        on_progress: Callable[[float], None] | None,
    ) -> Processed:
        began, rate = time.perf_counter(), reader.sample_rate
        further = len(self.inputs) - 1
        channels = reader.channels - (further if reference is None else 0)
        done = 0

        def blocks() -> Iterator[np.ndarray]:
            nonlocal done
            while (block := reader.read(_block_size(rate, channels))).shape[1]:
                done += block.shape[1]
                yield block if reference is None else np.concatenate((block, reference.read(block.shape[1])))

        paths = [] if isinstance(out, RawWriter) else output_paths(out, self.outputs)
        with ExitStack() as stack:
            writers: list[RawWriter | SoundWriter] = [
                stack.enter_context(SoundWriter(path, rate, channels, reader.frames, reader)) for path in paths
            ]
            if isinstance(out, RawWriter):
                writers.append(out)
            for result in self._run(blocks(), rate, channels, share):
                for writer, wav in zip(writers, result, strict=True):
                    writer.write(wav)
                if on_progress is not None:
                    on_progress(done / rate)
        if reader.not_finite:
            notes.append(f"{reader.not_finite} samples were no numbers (NaN or infinite) and were taken as 0")
        return Processed(paths, done / rate, time.perf_counter() - began, notes)


def _block_size(rate: int, channels: int) -> int:
    """Samples of a block: four seconds of one channel, a quarter of a second at least."""
    return max(rate // 4, 4 * rate // channels)


def _loaded(source: Source, rate: int) -> tuple[np.ndarray, int]:
    """(wav, its sample rate) of a file or an array, NaN and infinity taken as 0."""
    if not isinstance(source, np.ndarray):
        return read_sound(source)
    if source.ndim not in (1, 2) or source.shape[-1] == 0:
        raise UserError(f"predict: an array is (T,) or (C, T) with samples in it, not {source.shape}")
    if not np.issubdtype(source.dtype, np.floating):
        raise UserError(f"predict: an array holds floats in [-1, 1], not {source.dtype}; divide by its full scale")
    return np.nan_to_num(source.astype(np.float32), posinf=0, neginf=0), rate
