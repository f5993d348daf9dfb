"""Samples one after the other, as the shards hold them: for WebDataset shards, which know no random access."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from facemill import DatasetError
from facemill.manifests.shards import format_of
from facemill.manifests.shards.webdataset import WebDatasetShards
from facemill.pipeline.data.balance import Balance, repeats
from facemill.pipeline.data.decode import decode_sample, pictures_of
from facemill.pipeline.data.draws import draws
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Roots, open_split

__all__ = ["SHUFFLE_BUFFER", "StreamingFaces"]

SHUFFLE_BUFFER = 1024
"""Encoded samples that each worker holds and draws from: some 150 MB of PNG crops of 299 pixels."""

Stored = tuple[str, list[bytes]]
"""What a shard has of a sample: sample_id, and the encoded pictures that are wanted."""
Indexed = tuple[int, Stored]
"""A sample's index, and what its shard has of it."""


@dataclass(frozen=True, slots=True)
class _Share:
    """What one worker of one rank reads: consecutive samples, with their repeats, of consecutive shards."""

    number: int
    indices: NDArray[np.int64]


class StreamingFaces(IterableDataset[Sample]):
    """The samples of a split, read front to back; of shards of any format.

    Samples, not whole shards, are dealt out to the ranks and their DataLoader workers, each getting a stretch
    whose length differs by one at most from the others'; an epoch has every sample exactly once (or as often
    as balancing repeats it). Only where several ranks shuffle are all stretches cut to the shortest, so that
    ranks do equally many steps: the handful left out is another one every epoch.

    Args:
        roots, split, frames, every, seed, masks, annotations: as in `FaceDataset`.
        shuffle: read the shards in another order each epoch, and draw from a buffer of samples. The order
            depends on seed, epoch and the number of workers.
        balance: `oversample` repeats samples of the rarer class, always the same ones equally often.
        rank, world: this process of a distributed run, and how many there are.

    Attributes:
        samples: the rows of samples.parquet that are used; a sample's `index` is its row.
        labels: int64 [N].

    Raises:
        DatasetError: for a dataset that is unfinished or damaged, or has no such split or annotation; while reading,
            naming shard and row, where a sample is missing, damaged or another one.
    """

    def __init__(
        self,
        roots: Roots,
        split: str,
        *,
        frames: int | None = None,
        every: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        balance: Balance = "none",
        masks: bool = True,
        annotations: Sequence[str] = (),
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._split = open_split(roots, split, frames=frames, every=every, seed=seed)
        self._counts = repeats(self._split.labels, balance)
        self._split.check_annotations(annotations)
        self._annotations, self._pictures = annotations, pictures_of(self._split, annotations, masks=masks)
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._world = rank, world
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # shared, so that persistent workers see it change

    @property
    def samples(self) -> pa.Table:
        return self._split.samples

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._split.labels

    def set_epoch(self, epoch: int) -> None:
        """Shuffle as in this epoch, from the next iteration on."""
        self._epoch.fill_(epoch)

    def shortest_share(self, workers: int) -> int:
        """Samples that the worker with the fewest gets in an epoch; 0 workers are the process itself."""
        return int(self._counts.sum()) // (self._world * max(workers, 1))

    def __iter__(self) -> Iterator[Sample]:
        share = self._share()
        samples = self._read(share)
        if self._shuffle:
            samples = _shuffled(samples, draws(self._seed, int(self._epoch), share.number))
        for index, (sample_id, pictures) in samples:
            named = dict(zip(self._pictures, pictures, strict=True))
            yield decode_sample(self._split, index, sample_id, named, self._annotations)

    def _share(self) -> _Share:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        number, shares = self._rank * workers + worker, self._world * workers
        order = self._order()
        if self._shuffle and self._world > 1:
            order = order[: len(order) // shares * shares]
        return _Share(number, order[len(order) * number // shares : len(order) * (number + 1) // shares])

    def _order(self) -> NDArray[np.int64]:
        """The epoch's samples as they will be read: shard by shard, each shard front to back."""
        split = self._split
        rank = np.arange(len(split.shards))
        if self._shuffle:
            rank = draws(self._seed, int(self._epoch)).permutation(rank)
        order = np.lexsort((split.row, rank[split.shard]))
        return np.repeat(order, self._counts[order])

    def _read(self, share: _Share) -> Iterator[Indexed]:
        split = self._split
        for shard, group in itertools.groupby(share.indices.tolist(), key=lambda index: split.shard[index]):
            path = split.shards[shard]
            rows = enumerate(_stored(path, split.size, self._pictures))
            row, sample = -1, None
            for index in group:
                while row < split.row[index]:  # a repeated sample is the one at hand
                    row, sample = next(rows, (sys.maxsize, None))
                if sample is None or row != split.row[index]:
                    raise DatasetError(f"{split.place(index)} is missing, the shard ends before it: build it again.")
                yield index, sample


def _stored(path: Path, side: int, names: Sequence[str]) -> Iterator[Stored]:
    """A shard's samples in the order written."""
    if path.suffix == WebDatasetShards.suffix:
        return WebDatasetShards.read_pictures(path, side, names)
    samples = format_of(path).read(path)
    pictures = ((sample, {"image": sample.image, "mask": sample.mask, **sample.images}) for sample in samples)
    return ((sample.record.sample_id, [there[name] for name in names]) for sample, there in pictures)


def _shuffled(samples: Iterator[Indexed], rng: np.random.Generator) -> Iterator[Indexed]:
    """Draw from a buffer that is filled up again from `samples`; at their end, what is left in random order."""
    buffer = list(itertools.islice(samples, SHUFFLE_BUFFER))
    for sample in samples:
        position = int(rng.integers(len(buffer)))
        yield buffer[position]
        buffer[position] = sample
    yield from (buffer[position] for position in rng.permutation(len(buffer)))
