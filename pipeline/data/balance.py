"""Class balancing: as many reals as fakes in an epoch, by repeating samples of the rarer class."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facemill import DatasetError
from facemill.seeded import seeded_generator

__all__ = ["Balance", "BalancedSampler", "repeats"]

Balance = Literal["none", "oversample"]
"""As in `TrainSettings.balance`."""


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
        self,
        labels: NDArray[np.int64],
        *,
        balance: Balance = "oversample",
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
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
        order = rng.permutation(np.repeat(np.arange(len(self._labels)), self._shuffled_counts(rng)))
        wrapped = np.resize(order, len(self) * self._world)
        return iter(wrapped[self._rank :: self._world].tolist())

    def _shuffled_counts(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The counts, permuted within each class."""
        counts = self._counts.copy()
        for label in (0, 1):
            counts[self._labels == label] = rng.permutation(counts[self._labels == label])
        return counts


def repeats(labels: NDArray[np.int64], balance: Balance) -> NDArray[np.int64]:
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
