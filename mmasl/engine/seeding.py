"""Random numbers that depend on the seed and on the position in a training, not on earlier draws."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler


def seed_generators(*entropy: int, devices: bool = True) -> None:
    """Seed the global generators of Python, NumPy and torch from ``entropy``, integers ≥ 0.

    Args:
        entropy: The numbers that the random numbers depend on.
        devices: Also seed the generators of GPUs and other devices, which takes several times as long.

    Example:
        >>> seed_generators(0, 7)
        >>> first = random.random(), np.random.rand(), torch.rand(1)
        >>> seed_generators(0, 7)
        >>> first == (random.random(), np.random.rand(), torch.rand(1))
        True
    """
    # A hash: neighbouring seeds must not give neighbouring states.
    for_random, for_numpy, for_torch = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(for_random)
    np.random.seed(for_numpy)
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(for_torch)


class SeededIndex(int):
    """An index that carries the entropy of its sample to the process that loads it, which may be a worker."""

    entropy: tuple[int, ...]

    def __new__(cls, index: int, *entropy: int) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.entropy = entropy
        return self

    def __reduce__(self):
        return SeededIndex, (int(self), *self.entropy)


class SeededSampler(Sampler):
    """Gives each index of ``sampler`` the entropy (seed, epoch, position in the epoch over all processes).

    It takes the position instead of the index, because samplers may draw an index more than once.

    Args:
        sampler: Any sampler; attributes that this class lacks are looked up there.
        seed: Seed of the run.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(self, sampler: Sampler, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.sampler, self._entropy, self._rank, self._world_size = sampler, seed, rank, world_size
        self._epoch, self._start = 0, 0

    def __iter__(self) -> Iterator[SeededIndex]:
        for number, index in enumerate(self.sampler, self._start):
            yield SeededIndex(index, self._entropy, self._epoch, self._rank + self._world_size * number)

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str):
        return getattr(self.sampler, name)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    @property
    def skip(self):
        """The sampler's own method to skip samples; a sampler without one has no such attribute here either."""
        skip = self.sampler.skip

        def skip_and_count(num_samples: int) -> None:
            skip(num_samples)
            self._start = num_samples

        return skip_and_count


class SeededDataset:
    """Wraps ``dataset`` and seeds all generators before it loads a sample with a :class:`SeededIndex`."""

    def __init__(self, dataset) -> None:
        vars(self)['dataset'] = dataset

    def __getitem__(self, index: int):
        if isinstance(index, SeededIndex):
            seed_generators(*index.entropy, devices=False)  # transforms run on the CPU
            index = int(index)
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        # __getitems__ would bypass the seeding, and pickle asks for dunder names before there is a data set.
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self.dataset, name, value)  # hooks of MMDetection exchange the pipeline


def seed_samples(loader: DataLoader, seed: int, rank: int = 0, world_size: int = 1) -> SeededSampler | None:
    """Make the random transforms of ``loader`` depend only on the seed, the epoch and the sample's position in it.

    The number of workers, their persistence and earlier samples then make no difference.

    Args:
        loader: A data loader that has not been iterated yet.
        seed: Seed of the run.
        rank: Rank of this process.
        world_size: Number of processes.

    Returns:
        The new sampler of ``loader``, or None for an iterable data set or a batch sampler without a sampler, which
        this function does not change.

    Example:
        >>> loader = DataLoader([10, 20, 30], batch_size=2)
        >>> sampler = seed_samples(loader, seed=0)
        >>> sampler.set_epoch(5)
        >>> [(int(index), index.entropy) for index in sampler]
        [(0, (0, 5, 0)), (1, (0, 5, 1)), (2, (0, 5, 2))]
        >>> list(loader)
        [tensor([10, 20]), tensor([30])]
    """
    inner = getattr(loader.batch_sampler, 'sampler', None)
    if inner is None or isinstance(loader.dataset, IterableDataset):
        return None
    sampler = SeededSampler(inner, seed, rank, world_size)
    loader.batch_sampler.sampler = sampler
    # DataLoader refuses setattr here, because it would not change iterators that exist already; there are none yet.
    if loader.sampler is inner:
        vars(loader)['sampler'] = sampler
    vars(loader)['dataset'] = SeededDataset(loader.dataset)
    return sampler
