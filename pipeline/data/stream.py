"""Sequential reading of samples, for WebDataset shards, which have no random access."""

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
from facemill.pipeline.data.decode import decode_sample, names_to_read
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Roots, open_split
from facemill.seeded import seeded_generator

__all__ = ["SHUFFLE_BUFFER", "StreamingFaces"]

SHUFFLE_BUFFER = 1024
"""Size of each worker's shuffle buffer, in encoded samples: about 150 MB of PNG crops of 299 pixels."""

Stored = tuple[str, list[bytes]]
"""A sample as read from a shard: sample_id, and the requested encoded images."""
Indexed = tuple[int, Stored]
"""A sample's index, and the sample as read from its shard."""


@dataclass(frozen=True, slots=True)
class _Share:
    """The samples that one worker of one rank reads: consecutive, with repeats, of consecutive shards."""

    number: int
    indices: NDArray[np.int64]


class StreamingFaces(IterableDataset[Sample]):
    """The samples of a split, read sequentially, from shards of any format.

    Samples, not whole shards, are distributed to the ranks and their DataLoader workers. Each gets a consecutive
    share, whose sizes differ by at most one; an epoch has every sample exactly once (or as often as balancing
    repeats it). If several ranks shuffle, all shares are cut to the shortest, so that ranks do the same number
    of steps; the few samples left out differ in every epoch.

    Args:
        roots, split, frames, every, seed, masks, annotations: as in `FaceDataset`.
        shuffle: read the shards in a different order each epoch, through a shuffle buffer. The order depends
            on seed, epoch and the number of workers.
        balance: `oversample` repeats samples of the rarer class, with the same counts in every epoch.
        rank, world: rank of this process in a distributed run, and number of ranks.

    Attributes:
        samples: the rows of samples.parquet that are used; a sample's `index` is its row.
        labels: int64 [N], 0 real, 1 fake.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split or annotation; while reading,
            naming shard and row, if a sample is missing, damaged or a different one.
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
        self._annotations, self._image_names = annotations, names_to_read(self._split, annotations, masks=masks)
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
        """Use this epoch's shuffling from the next iteration on."""
        self._epoch.fill_(epoch)

    def shortest_share(self, workers: int) -> int:
        """Smallest number of samples per worker and epoch; 0 workers means loading in the main process."""
        return int(self._counts.sum()) // (self._world * max(workers, 1))

    def __iter__(self) -> Iterator[Sample]:
        share = self._share()
        samples = self._read(share)
        if self._shuffle:
            samples = _shuffled(samples, seeded_generator(self._seed, int(self._epoch), share.number))
        for index, (sample_id, encoded) in samples:
            named = dict(zip(self._image_names, encoded, strict=True))
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
        """The epoch's samples in reading order: shard by shard, each shard sequentially."""
        split = self._split
        rank = np.arange(len(split.shards))
        if self._shuffle:
            rank = seeded_generator(self._seed, int(self._epoch)).permutation(rank)
        order = np.lexsort((split.row, rank[split.shard]))
        return np.repeat(order, self._counts[order])

    def _read(self, share: _Share) -> Iterator[Indexed]:
        split = self._split
        for shard, group in itertools.groupby(share.indices.tolist(), key=lambda index: split.shard[index]):
            path = split.shards[shard]
            rows = enumerate(_stored(path, split.size, self._image_names))
            row, sample = -1, None
            for index in group:
                while row < split.row[index]:  # a repeated sample has already been read
                    row, sample = next(rows, (sys.maxsize, None))
                if sample is None or row != split.row[index]:
                    raise DatasetError(f"{split.place(index)} is missing, the shard ends before it: build it again.")
                yield index, sample


def _stored(path: Path, side: int, names: Sequence[str]) -> Iterator[Stored]:
    """Read a shard's samples in the order written."""
    if path.suffix == WebDatasetShards.suffix:
        return WebDatasetShards.read_images(path, side, names)
    samples = format_of(path).read(path)
    encoded = ((sample, {"image": sample.image, "mask": sample.mask, **sample.images}) for sample in samples)
    return ((sample.record.sample_id, [images[name] for name in names]) for sample, images in encoded)


def _shuffled(samples: Iterator[Indexed], rng: np.random.Generator) -> Iterator[Indexed]:
    """Yield random samples from a buffer refilled from `samples`; at the end, the rest in random order."""
    buffer = list(itertools.islice(samples, SHUFFLE_BUFFER))
    for sample in samples:
        position = int(rng.integers(len(buffer)))
        yield buffer[position]
        buffer[position] = sample
    yield from (buffer[position] for position in rng.permutation(len(buffer)))
