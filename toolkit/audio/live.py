"""Live audio: chunks in, chunks out, with a fixed delay, through a causal network.

stream = network.stream()
for chunk in microphone:
    loudspeaker.play(stream.push(chunk))
tail = stream.flush()
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.audio.short_time import frames_of, overlap_add

Chunk = TypeVar("Chunk", Tensor, np.ndarray)


class Stream:
    """One signal on its way through a `toolkit.audio.spectral.SpectralModel`.

    What comes out, without its first `latency` samples, equals the network's `forward` on the whole signal within
    1e-5, whatever the sizes of the chunks.

    Attributes:
        latency: delay between input and output in samples: window_size - 1. A frame needs window_size - hop_size
            samples after those that it finishes, and a chunk may end just before a frame is full.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.latency = model.window_size - 1
        self._shape: tuple[int, ...] | None = None  # all but the last of the first chunk's sizes
        self._state = None

    def _begin(self, shape: tuple[int, ...]) -> None:
        """Set up for chunks whose sizes but the last are `shape`."""
        model = self.model
        self._shape = shape
        batch = shape[0] if len(shape) == 2 else 1
        overlap = model.window_size - model.hop_size
        self._waiting = model.window.new_zeros(batch, len(model.inputs), overlap)  # no frame has finished with these
        self._sum = model.window.new_zeros(batch, len(model.outputs), overlap)  # frames to come add to these
        # the sum starts overlap samples before the signal, hop - 1 zeros make the delay independent of chunk ends
        self._ready = model.window.new_zeros(batch, len(model.outputs), model.hop_size - 1)

    @torch.inference_mode()
    def push(self, chunk: Chunk) -> Chunk:
        """Take the next samples and give as many, `latency` samples later than they went in.

        Args:
            chunk: (C_in, n), or (n,) for networks with one input, or (B, C_in, n) for B signals side by side; float
                in [-1, 1], n of any size, 0 too. NumPy in, NumPy out.

        Returns:
            (C_out, n), or (B, C_out, n).

        Raises:
            ValueError: the chunk has another number of channels than the network has inputs.
        """
        samples = torch.as_tensor(chunk, dtype=torch.float32, device=self.model.window.device)
        if samples.ndim == 1:
            samples = samples[None]
        if self._shape is None:
            if samples.ndim not in (2, 3) or samples.shape[-2] != len(self.model.inputs):
                raise ValueError(
                    f"push: a chunk is {(len(self.model.inputs), 'n')} for the inputs {', '.join(self.model.inputs)}; "
                    f"this one is {tuple(samples.shape)}"
                )
            self._begin(tuple(samples.shape[:-1]))
        elif samples.shape[:-1] != self._shape:
            raise ValueError(f"push: the first chunk was {(*self._shape, 'n')}, this one is {tuple(samples.shape)}")
        done = self._advance(samples if samples.ndim == 3 else samples[None])
        done = done if samples.ndim == 3 else done[0]
        return done.cpu().numpy() if isinstance(chunk, np.ndarray) else done

    def _advance(self, samples: Tensor) -> Tensor:
        """`push` for (B, C_in, n)."""
        hop, size = self.model.hop_size, self.model.window_size
        waiting = torch.cat((self._waiting, samples), -1)
        count = (waiting.shape[-1] - size) // hop + 1
        if count > 0:
            spectra = frames_of(waiting[..., : (count - 1) * hop + size], self.model.window, hop)
            spectra, self._state = self.model.core(spectra, self._state)
            added = overlap_add(spectra, self.model.window, hop)
            added[..., : size - hop] += self._sum
            self._ready = torch.cat((self._ready, added[..., : count * hop]), -1)
            self._sum = added[..., count * hop :].clone()
            waiting = waiting[..., count * hop :]
        self._waiting = waiting.clone()
        done, self._ready = self._ready.split([samples.shape[-1], self._ready.shape[-1] - samples.shape[-1]], -1)
        return done

    def flush(self) -> Tensor:
        """The last `latency` samples, as after that many zeros; then the stream is ready for another signal."""
        shape = self._shape or (len(self.model.inputs),)
        last = self.push(self.model.window.new_zeros(*shape, self.latency))
        self._shape = self._state = None
        return last
