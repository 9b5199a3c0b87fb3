"""Samples depend on seed, epoch and place alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler

from toolkit.engine.runner import ToolkitRunner
from toolkit.engine.sampling import (
    ReproducibleDataset,
    ResumableBatchSampler,
    ResumableSampler,
    SampleIndex,
    seed_everything,
)


class Draws:
    """A data set whose samples are (index, a draw from each generator)."""

    metainfo = dict(classes=("a",))
    pipeline = "old"

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def epoch_of(dataset: Draws, workers: int, batch_size: int, epoch: int, skip: int = 0) -> list[tuple]:
    cfg = dict(
        dataset=dataset,
        sampler=dict(type="DefaultSampler", shuffle=True),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=dict(type=list),
    )
    loader = ToolkitRunner.build_dataloader(cfg, seed=5)
    loader.sampler.set_epoch(epoch)
    loader.sampler.skip(skip)
    return [sample for batch in loader for sample in batch]


def test_draws_do_not_depend_on_workers_or_batch_size() -> None:
    expected = epoch_of(Draws(), workers=0, batch_size=5, epoch=1)
    assert epoch_of(Draws(), workers=2, batch_size=2, epoch=1) == expected
    assert sorted(sample[0] for sample in expected) == list(range(10))
    assert len({sample[1:] for sample in expected}) == 10


def test_epochs_differ_in_order_and_draws() -> None:
    first, second = (epoch_of(Draws(), workers=0, batch_size=5, epoch=epoch) for epoch in (0, 1))
    assert [sample[0] for sample in first] != [sample[0] for sample in second]
    assert not {sample[1] for sample in first} & {sample[1] for sample in second}


def test_skipping_gives_the_rest_of_the_epoch_once() -> None:
    whole = epoch_of(Draws(), workers=0, batch_size=2, epoch=3)
    assert epoch_of(Draws(), workers=0, batch_size=2, epoch=3, skip=4) == whole[4:]
    sampler = ResumableSampler(DefaultSampler(Draws(), shuffle=False), seed=0)
    sampler.skip(7)
    assert [int(index) for index in sampler] == [7, 8, 9]
    assert len(list(sampler)) == 10


def test_infinite_sampler_skips_too() -> None:
    def first(sampler: ResumableSampler, count: int) -> list[tuple]:
        stream = iter(sampler)
        return [(int(index), index.entropy) for index, _ in zip(stream, range(count), strict=False)]

    whole = first(ResumableSampler(InfiniteSampler(Draws(), seed=1), seed=1), 25)
    resumed = ResumableSampler(InfiniteSampler(Draws(), seed=1), seed=1)
    resumed.skip(12)
    assert first(resumed, 13) == whole[12:]


def test_batches_are_skipped_whole() -> None:
    sampler = ResumableBatchSampler(BatchSampler(range(10), 3, drop_last=False))
    sampler.skip_batches(2)
    assert list(sampler) == [[6, 7, 8], [9]]
    assert len(list(sampler)) == 4


def test_dataset_hands_attributes_through_and_survives_pickling() -> None:
    inner = Draws()
    dataset = ReproducibleDataset(inner)
    dataset.pipeline = "new"
    assert inner.pipeline == "new"
    assert dataset.metainfo is Draws.metainfo
    copied = pickle.loads(pickle.dumps(dataset))
    index = pickle.loads(pickle.dumps(SampleIndex(3, (1, 2, 3))))
    assert copied[index] == dataset[SampleIndex(3, (1, 2, 3))]
    assert copied[index] != dataset[SampleIndex(3, (1, 2, 4))]
    with pytest.raises(AttributeError, match="nothing"):
        _ = dataset.nothing


def test_seeding_covers_all_generators() -> None:
    seed_everything(1, 2)
    first = Draws()[0]
    seed_everything(1, 2)
    assert Draws()[0] == first
    seed_everything(2, 1)
    assert Draws()[0] != first
