"""Data loading in which every sample's randomness is a function of seed, epoch and place in the epoch.

Augmentation then does not depend on the number of workers, on the rank that loads a sample, or on whether the run was
interrupted: one process with a batch of 4 and two processes with 2 see the same pixels, and a resumed run sees what
the uninterrupted one would have seen. (Pipelines that keep samples between calls, such as mmdet's cached mosaic,
start with an empty cache after a restart and are the exception.)
"""

import random
import signal
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import get_dist_info


def seed_everything(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's generators from a tuple of non-negative integers."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class SampleIndex(int):
    """The index of a sample together with the entropy of its augmentation."""

    entropy: tuple[int, ...]

    def __new__(cls, index: int, entropy: tuple[int, ...]):
        self = super().__new__(cls, index)
        self.entropy = entropy
        return self

    def __reduce__(self):
        return SampleIndex, (int(self), self.entropy)


class ReproducibleDataset:
    """A dataset that seeds the random generators before it prepares a sample. All else is the wrapped dataset's."""

    def __init__(self, dataset: Any):
        object.__setattr__(self, "_dataset", dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset":  # not yet there while being unpickled
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._dataset, name, value)

    def __reduce__(self):
        return ReproducibleDataset, (self._dataset,)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, SampleIndex):
            seed_everything(*index.entropy)
        return self._dataset[int(index)]


class ResumableSampler:
    """Wrap a sampler: give each index its entropy, and skip the indices that an interrupted epoch has used."""

    def __init__(self, sampler: Any, seed: int):
        self.sampler = sampler
        self.seed = seed
        self.skipped = 0

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":
            raise AttributeError(name)
        return getattr(self.sampler, name)

    def __len__(self) -> int:
        return len(self.sampler)

    def skip(self, num_samples: int) -> None:
        """Leave out the first `num_samples` indices of this rank, once, in the next pass."""
        self.skipped = num_samples

    def __iter__(self) -> Iterator[SampleIndex]:
        rank, world_size = get_dist_info()
        epoch = getattr(self.sampler, "epoch", 0)
        skipped, self.skipped = self.skipped, 0
        for place, index in enumerate(self.sampler):
            if place >= skipped:
                yield SampleIndex(index, (self.seed, epoch, place * world_size + rank))


class ResumableBatchSampler:
    """Wrap a batch sampler whose batches are not plain runs of indices, to skip whole batches."""

    def __init__(self, batch_sampler: Any):
        self.batch_sampler = batch_sampler
        self.skipped = 0

    def __getattr__(self, name: str) -> Any:
        if name == "batch_sampler":
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def skip_batches(self, num_batches: int) -> None:
        """Leave out the first `num_batches` batches, once, in the next pass."""
        self.skipped = num_batches

    def __iter__(self) -> Iterator[list[int]]:
        skipped, self.skipped = self.skipped, 0
        for place, batch in enumerate(self.batch_sampler):
            if place >= skipped:
                yield batch


def init_worker(worker_id: int) -> None:
    """Worker set-up: one thread each, and Ctrl-C left to the main process, which stops after the current step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
