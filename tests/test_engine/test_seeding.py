"""Random transforms depend on seed, epoch and position alone, whatever the loader is like."""

import pickle

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from mmasl.engine.seeding import SeededDataset, SeededIndex, seed_samples


class Noise:
    """A random number for every index."""

    size, pipeline = 6, 'old'

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index + np.random.rand()


def epochs(loader, seed=0, number=2, start=0):
    """What ``loader`` gives, one row an epoch, sorted by index."""
    sampler = seed_samples(loader, seed)
    rows = []
    for epoch in range(start, number):
        sampler.set_epoch(epoch)
        rows.append(sorted(value for batch in loader for value in batch.tolist()))
    return rows


def loader(**kwargs):
    return DataLoader(Noise(), sampler=DefaultSampler(Noise(), seed=0), batch_size=2, **kwargs)


def test_workers_and_interruptions_make_no_difference():
    first, second = epochs(loader())
    assert [int(value) for value in first] == [int(value) for value in second] == list(range(6))
    assert first != second
    assert epochs(loader(num_workers=2, persistent_workers=True)) == [first, second]
    assert epochs(loader(), start=1) == [second]
    assert epochs(loader(), seed=1) != [first, second]


def test_batch_samplers_of_the_user():
    sampler = DefaultSampler(Noise(), seed=0)
    assert epochs(DataLoader(Noise(), batch_sampler=BatchSampler(sampler, 2, False))) == epochs(loader())


def test_skipping_gives_what_comes_after():
    def draws(skipped):
        sampler = InfiniteSampler(Noise(), seed=0)
        if not hasattr(sampler, 'skip'):
            pytest.skip('this MMEngine cannot skip')
        endless = DataLoader(Noise(), sampler=sampler, batch_size=2)
        seed_samples(endless, 0)
        endless.sampler.skip(skipped)
        batches = iter(endless)
        return [next(batches).tolist() for _ in range(9 - skipped // 2)]

    assert draws(4) == draws(0)[2:]
    assert not hasattr(seed_samples(loader(), 0), 'skip')


def test_processes_share_the_positions():
    """Two processes together draw what one draws."""
    samplers = [DefaultSampler(Noise(), seed=0, shuffle=False) for _ in range(3)]
    for rank, sampler in enumerate(samplers[1:]):
        sampler.rank, sampler.world_size, sampler.num_samples = rank, 2, 3
    whole, *parts = (
        {
            int(index): index.entropy
            for index in seed_samples(DataLoader(Noise(), sampler=sampler), 0, rank=rank, world_size=size)
        }
        for sampler, rank, size in zip(samplers, (0, 0, 1), (1, 2, 2), strict=True)
    )
    assert parts[0] | parts[1] == whole and len(whole) == 6


def test_a_dataset_stays_what_it_is():
    wrapped = pickle.loads(pickle.dumps(SeededDataset(Noise())))
    wrapped.pipeline = 'new'
    assert wrapped.size == 6 and wrapped.dataset.pipeline == 'new' and len(wrapped) == 6
    index = pickle.loads(pickle.dumps(SeededIndex(3, 0, 1)))
    assert index == 3 and index.entropy == (0, 1) and wrapped[index] == wrapped[index] != wrapped[SeededIndex(3, 0, 2)]


def test_what_has_no_indices_is_left_alone():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    stream = DataLoader(Stream())
    assert seed_samples(stream, 0) is None and isinstance(stream.dataset, Stream)
