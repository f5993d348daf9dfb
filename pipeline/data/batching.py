"""Batches of samples that belong together: pairs of a real crop and a fake of it, groups, or videos."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facemill import ConfigError
from facemill.pipeline.data.balance import Balance, repeats
from facemill.pipeline.data.fields import numbered, pairs
from facemill.seeded import seeded_generator

__all__ = ["BatchBy", "UnitSampler", "paired"]

BatchBy = Literal["none", "pair", "group", "video"]
"""As in `TrainSettings.batch_by`."""

Indices = NDArray[np.int64]


class UnitSampler(Sampler[list[int]]):
    """A batch sampler that never separates a unit, shuffles units, and fills batches with whole ones.

    - `pair`: a fake crop, and the real crop of the same face and frame, which is repeated for each of its fakes.
    - `group`: a real crop and all fakes of the same face and frame.
    - `video`: the crops of a video; more of them than a batch holds are divided at random.

    A crop without a counterpart is a unit of its own. To balance classes, `group` repeats the real crop in its unit;
    what is still missing is added as single crops of the rarer class, which are others in every epoch. A last batch
    that is not full is left out unless it is the only one. Each rank gets as many batches as the others; if they do not
    divide evenly, the first few are repeated. The order depends on seed and epoch alone.

    Args:
        samples: rows of samples.parquet.
        labels: int [N], 0 real, 1 fake.
        batch: largest number of crops in a batch, per rank.

    Raises:
        ConfigError: if a unit has more crops than a batch.
        DatasetError: if only one class is there to balance.
    """

    def __init__(
        self,
        samples: pa.Table,
        labels: Indices,
        by: Literal["pair", "group", "video"],
        batch: int,
        *,
        balance: Balance = "oversample",
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._labels, self._batch, self._balance, self._divided = labels, batch, balance, by == "video"
        self._seed, self._rank, self._world = seed, rank, world
        counts = repeats(labels, balance)  # raises if a class is missing
        if by == "video":
            self._units = [np.repeat(rows, counts[rows]) for rows in _rows_by(numbered(samples, "dataset", "video_id"))]
        else:
            make = _pairs if by == "pair" else partial(_group, repeat=balance == "oversample")
            self._units = [unit for rows in _rows_by(pairs(samples)) for unit in make(rows, labels)]
            if (largest := max(map(len, self._units))) > batch:
                raise ConfigError(
                    f"train.batch_by={by} needs batches of at least {largest} crops per device: choose a larger "
                    "train.batch."
                )
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._batches = self._fill(seeded_generator(self._seed, epoch))  # once: the length is asked for in every epoch

    def __len__(self) -> int:
        return -(-len(self._batches) // self._world)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self._rank, len(self) * self._world, self._world):
            yield self._batches[number % len(self._batches)]

    def _fill(self, rng: np.random.Generator) -> list[list[int]]:
        """All batches of an epoch, of all ranks."""
        units = [*self._units, *self._added(rng)]
        filled: list[list[int]] = [[]]
        for number in rng.permutation(len(units)):
            unit = iter(rng.permutation(units[number]).tolist() if self._divided else units[number].tolist())
            while part := list(islice(unit, self._batch)):
                if len(filled[-1]) + len(part) > self._batch:
                    filled.append([])
                filled[-1] += part
        if len(filled) > 1 and len(filled[-1]) < self._batch:
            del filled[-1]
        return filled

    def _added(self, rng: np.random.Generator) -> list[Indices]:
        """Single crops of the rarer class, as many as balance needs."""
        if self._balance == "none":
            return []
        reals, fakes = np.bincount(self._labels[np.concatenate(self._units)], minlength=2)
        rarer = np.flatnonzero(self._labels == int(fakes < reals))
        return list(np.resize(rng.permutation(rarer), (abs(int(fakes) - int(reals)), 1)))


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
