"""The samples of an epoch, with as many reals as fakes, and their batches.

Batches may be of samples that belong together: pairs of a real crop and a fake of it, groups, videos, or a user's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facemill import ConfigError, DatasetError
from facemill.options import Configurable
from facemill.pipeline.data.fields import numbered, pairs
from facemill.seeded import seeded_generator

__all__ = ["BalancedSampler", "BatchSampler", "Batching", "Groups", "Pairs", "Videos", "paired", "repeats"]

Balance = Literal["none", "oversample"]
"""As in `TrainSettings.balance`."""
Indices = NDArray[np.int64]


class BalancedSampler(Sampler[int]):
    """Sampler of every sample once per epoch, shuffled; samples of the rarer class are repeated to balance both.

    Which samples are repeated once more than others is chosen anew each epoch. Each of `world` ranks gets
    the same number of samples; if they do not divide evenly, the first few of the epoch are repeated at its
    end. The order depends on seed and epoch alone.

    Args:
        labels: int [N], 0 real, 1 fake.

    Raises:
        DatasetError: if only one class is there to balance.
    """

    def __init__(
        self, labels: Indices, *, balance: Balance = "oversample", seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self._labels = labels
        self._counts = repeats(labels, balance)
        self._seed, self._rank, self._world = seed, rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-int(self._counts.sum()) // self._world)

    def __iter__(self) -> Iterator[int]:
        rng = seeded_generator(self._seed, self._epoch)
        counts = self._counts.copy()
        for label in (0, 1):  # within each class, others are repeated once more
            counts[self._labels == label] = rng.permutation(counts[self._labels == label])
        order = rng.permutation(np.repeat(np.arange(len(self._labels)), counts))
        wrapped = np.resize(order, len(self) * self._world)
        return iter(wrapped[self._rank :: self._world].tolist())


def repeats(labels: Indices, balance: Balance) -> Indices:
    """Number of times that each sample is in an epoch, [N]; counts of the rarer class differ by at most one.

    Raises:
        DatasetError: if only one class is there to balance.
    """
    counts = np.ones(len(labels), np.int64)
    if balance == "none":
        return counts
    reals, fakes = (np.flatnonzero(labels == label) for label in (0, 1))
    if not len(reals) or not len(fakes):
        raise DatasetError(
            f"The training samples are {len(reals)} reals and {len(fakes)} fakes, which repetition cannot balance: "
            "add the other class, or set train.balance=none."
        )
    rarer, common = sorted((reals, fakes), key=len)
    counts[rarer] = np.diff(np.arange(len(rarer) + 1) * len(common) // len(rarer))
    return counts


class Batching(Configurable, ABC):
    """How the training crops of an epoch are put into batches: an entry of `registry.BATCHINGS` (`train.batch_by`).

    Attributes:
        samples: rows of samples.parquet.
        labels: int [N], 0 real, 1 fake.
        batch: largest number of crops in a batch, per rank.
        balance: as in `TrainSettings`.
    """

    samples: pa.Table
    labels: Indices
    batch: int
    balance: Balance

    def start(self, samples: pa.Table, labels: Indices, batch: int, balance: Balance) -> None:
        """Set the attributes, once per run; subclasses may do work here that all epochs share."""
        self.samples, self.labels, self.batch, self.balance = samples, labels, batch, balance

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Sequence[Sequence[int]]:
        """The batches of one epoch, in order: for each the rows of its crops.

        They are distributed to the ranks afterwards. Every process must draw the same ones.

        Args:
            rng: seeded for this epoch; the only source of chance.
        """


class BatchSampler(Sampler[list[int]]):
    """The batches of a `Batching`, which depend on seed and epoch alone.

    Each rank gets as many as the others; if they do not divide evenly, the first few are repeated.

    Raises:
        ConfigError: if there is no batch, or one is empty, too large, or names rows that do not exist.
    """

    def __init__(self, batching: Batching, *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self._batching, self._seed, self._rank, self._world = batching, seed, rank, world
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        drawn = self._batching.draw(seeded_generator(self._seed, epoch))  # once: the length is asked for in every epoch
        self._batches = [list(map(int, batch)) for batch in drawn]
        most, rows = self._batching.batch, len(self._batching.labels)
        if not self._batches or not all(
            0 < len(batch) <= most and min(batch) >= 0 and max(batch) < rows for batch in self._batches
        ):
            raise ConfigError(
                f"{type(self._batching).__name__}.draw must return batches of 1 to {most} rows, each from 0 to "
                f"{rows - 1}: correct it."
            )

    def __len__(self) -> int:
        return -(-len(self._batches) // self._world)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self._rank, len(self) * self._world, self._world):
            yield self._batches[number % len(self._batches)]


class Units(Batching):
    """Never separates a unit, shuffles units, and fills batches with whole ones.

    A crop without a counterpart is a unit of its own. What is missing to balance classes is added as single crops of
    the rarer class, which are others in every epoch. A last batch that is not full is left out unless it is alone.

    Raises:
        ConfigError: if a unit has more crops than a batch.
        DatasetError: if only one class is there to balance.
    """

    divided = False  # whether units that are larger than a batch are divided at random

    def start(self, samples: pa.Table, labels: Indices, batch: int, balance: Balance) -> None:
        super().start(samples, labels, batch, balance)
        self._units = self.units(repeats(labels, balance))  # raises if a class is missing
        if not self.divided and (largest := max(map(len, self._units))) > batch:
            raise ConfigError(
                f"train.batch_by={type(self).__name__.lower().removesuffix('s')} needs batches of at least {largest} "
                "crops per device: choose a larger train.batch."
            )

    @abstractmethod
    def units(self, counts: Indices) -> list[Indices]:
        """The rows of each unit; `counts` [N]: how often each crop is repeated to balance classes."""

    def draw(self, rng: np.random.Generator) -> list[list[int]]:
        units = [*self._units, *self._added(rng)]
        filled: list[list[int]] = [[]]
        for number in rng.permutation(len(units)):
            unit = iter(rng.permutation(units[number]).tolist() if self.divided else units[number].tolist())
            while part := list(islice(unit, self.batch)):
                if len(filled[-1]) + len(part) > self.batch:
                    filled.append([])
                filled[-1] += part
        if len(filled) > 1 and len(filled[-1]) < self.batch:
            del filled[-1]
        return filled

    def _added(self, rng: np.random.Generator) -> list[Indices]:
        """Single crops of the rarer class, as many as balance needs."""
        if self.balance == "none":
            return []
        reals, fakes = np.bincount(self.labels[np.concatenate(self._units)], minlength=2)
        rarer = np.flatnonzero(self.labels == int(fakes < reals))
        return list(np.resize(rng.permutation(rarer), (abs(int(fakes) - int(reals)), 1)))


class Pairs(Units):
    """A fake crop, and the real crop of the same face and frame, which is repeated for each of its fakes."""

    def units(self, counts: Indices) -> list[Indices]:
        families = _families(self.samples, self.labels)
        return [unit for real, fakes in families for unit in [np.append(real, fake) for fake in fakes] or [real]]


class Groups(Units):
    """A real crop and all fakes of the same face and frame; balance repeats the real crop in its unit."""

    def units(self, counts: Indices) -> list[Indices]:
        repeat = self.balance == "oversample"
        families = _families(self.samples, self.labels)
        return [np.append(np.repeat(real, max(len(fakes), 1) if repeat else 1), fakes) for real, fakes in families]


class Videos(Units):
    """The crops of a video; more of them than a batch holds are divided at random."""

    divided = True

    def units(self, counts: Indices) -> list[Indices]:
        return [np.repeat(rows, counts[rows]) for rows in _rows_by(numbered(self.samples, "dataset", "video_id"))]


def paired(samples: pa.Table, labels: Indices) -> Indices:
    """Rows of the real and the fake crop of each pair, [P, 2]."""
    found = [(real[0], fake) for real, fakes in _families(samples, labels) for fake in fakes]
    return np.array(found, np.int64).reshape(-1, 2)


def _rows_by(keys: Indices) -> list[Indices]:
    """The rows of each key, in the order of the keys."""
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def _families(samples: pa.Table, labels: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield a real crop [1] and the fakes [n] of the same face and frame; each crop without a counterpart with none."""
    for rows in _rows_by(pairs(samples)):
        reals, fakes = (rows[labels[rows] == label] for label in (0, 1))
        if len(reals) == 1 and len(fakes):
            yield reals, fakes
        else:
            yield from ((row, fakes[:0]) for row in rows[:, None])
