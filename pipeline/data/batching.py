"""Batches of samples that belong together: pairs of a real crop and a fake of it, groups, videos, or a user's own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facemill import ConfigError
from facemill.options import Configurable
from facemill.pipeline.data.balance import Balance, repeats
from facemill.pipeline.data.fields import numbered, pairs
from facemill.seeded import seeded_generator

__all__ = ["BatchSampler", "Batching", "Groups", "Pairs", "Videos", "paired"]

Indices = NDArray[np.int64]


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
        """See `Batching.start`."""
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
        """See `Batching.draw`."""
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
        """See `Units.units`."""
        return [unit for rows in _rows_by(pairs(self.samples)) for unit in _pairs(rows, self.labels)]


class Groups(Units):
    """A real crop and all fakes of the same face and frame; balance repeats the real crop in its unit."""

    def units(self, counts: Indices) -> list[Indices]:
        """See `Units.units`."""
        repeat = self.balance == "oversample"
        return [unit for rows in _rows_by(pairs(self.samples)) for unit in _group(rows, self.labels, repeat=repeat)]


class Videos(Units):
    """The crops of a video; more of them than a batch holds are divided at random."""

    divided = True

    def units(self, counts: Indices) -> list[Indices]:
        """See `Units.units`."""
        return [np.repeat(rows, counts[rows]) for rows in _rows_by(numbered(self.samples, "dataset", "video_id"))]


def paired(samples: pa.Table, labels: Indices) -> Indices:
    """Rows of the real and the fake crop of each pair, [P, 2]."""
    units = [unit for rows in _rows_by(pairs(samples)) for unit in _pairs(rows, labels)]
    return np.array([unit for unit in units if len(unit) == 2], np.int64).reshape(-1, 2)


def _rows_by(keys: Indices) -> list[Indices]:
    """The rows of each key, in the order of the keys."""
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def _pairs(rows: Indices, labels: Indices) -> list[Indices]:
    reals, fakes = (rows[labels[rows] == label] for label in (0, 1))
    if len(reals) != 1 or not len(fakes):
        return [np.array([row]) for row in rows]
    return [np.array([reals[0], fake]) for fake in fakes]


def _group(rows: Indices, labels: Indices, *, repeat: bool) -> list[Indices]:
    reals, fakes = (rows[labels[rows] == label] for label in (0, 1))
    if len(reals) != 1 or not len(fakes):
        return [np.array([row]) for row in rows]
    return [np.concatenate([np.repeat(reals, len(fakes) if repeat else 1), fakes])]
