"""The batches of a training run: both splits, distributed to the ranks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from facemill.manifests.shards.dataset import read_dataset
from facemill.options import create_all
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data.batching import BalancedSampler, BatchSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.fields import DENSE, MASK
from facemill.pipeline.data.forge import fields_to_read
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.split import Roots, chosen_rows, list_folders
from facemill.registry import BATCHINGS
from facemill.seeded import seeded_generator

__all__ = ["TrainingData", "used_rows"]


class TrainingData:
    """Loads splits `train` and `val` in batches for `prepare`.

    The order depends on seed and epoch alone, so that a run resumed at an epoch continues like an uninterrupted one.

    Args:
        roots: folder of a built dataset, or several to train on together.
        settings: `frames`, `every` and `balance` apply to training only; `batch` is per rank here. With `overfit`,
            the samples of validation are those of training.
        workers: readers per split: processes if there is a GPU, else threads.
        fields: of the training samples, besides image, label and index.
        sampling: arguments of `FaceDataset` for clips; none for single crops.
        rank, world: rank of this process in a distributed run, and number of ranks.
        cache: folder for decoded crops, as of `FaceDataset`.

    Attributes:
        roots: the datasets' folders.
        train, val: the splits.
        train_loader: shuffled and balanced; an incomplete last batch is dropped unless it is the only one. With
            `batch_by`, see `Batching`. With `forgeries`, batches of half the size, of reals with the fields from which
            `add_forgeries` makes the others.
        val_loader: every sample once, in order, over all ranks together.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or lacks a split.
    """

    def __init__(
        self,
        roots: Roots,
        settings: TrainSettings,
        *,
        workers: int = 0,
        seed: int = 0,
        fields: Sequence[str] = (MASK,),
        sampling: Mapping[str, Any] | None = None,
        rank: int = 0,
        world: int = 1,
        cache: Path | None = None,
    ) -> None:
        s = settings
        self.roots = list_folders(roots)
        self._workers = workers
        size, balance = s.batch, s.balance
        if s.forgeries != "none":
            dense = all(DENSE in read_dataset(root).annotations for root in self.roots)
            size, balance, fields = s.batch // 2, "none", fields_to_read(fields, s.forgeries, dense=dense)
        common: dict[str, Any] = {**(sampling or {}), "cache": cache}
        drawn: dict[str, Any] = {"frames": s.frames, "every": s.every, "seed": seed}
        self.train = FaceDataset(roots, "train", rows=used_rows(s, "train"), fields=fields, **drawn, **common)
        part, again = ("train", drawn) if s.overfit else ("val", {})
        self.val = FaceDataset(roots, part, rows=used_rows(s, "val"), fields=(), **again, **common)
        chosen = _choose(self.train.labels, s, seed)
        labels = self.train.labels[chosen]
        ranked = {"seed": seed, "rank": rank, "world": world}
        if s.batch_by == "none":
            self._sampler = _Chosen(chosen, BalancedSampler(labels, balance=balance, **ranked))
            drop = len(self._sampler) >= size
            self.train_loader = self._loader(self.train, batch_size=size, sampler=self._sampler, drop_last=drop)
        else:
            wanted = {s.batch_by: s.batch_options}
            batching = create_all(BATCHINGS, wanted, prefix="train.batch_by=")[s.batch_by]
            batching.start(self.train.samples.take(chosen), labels, s.batch, s.balance)
            self._sampler = _Chosen(chosen, BatchSampler(batching, **ranked))
            self.train_loader = self._loader(self.train, batch_sampler=self._sampler)
        in_order = _choose(self.val.labels, s, seed)[rank::world].tolist()
        self.val_loader = self._loader(self.val, batch_size=s.batch, sampler=in_order)

    @property
    def steps(self) -> int:
        """Batches of the current epoch."""
        return len(self.train_loader)

    def set_epoch(self, epoch: int) -> None:
        """Use this epoch's order from the next iteration over `train_loader` on."""
        self._sampler.set_epoch(epoch)

    def _loader(self, faces: FaceDataset, **options: Any) -> FaceLoader:
        gpu = torch.cuda.is_available()
        kept = gpu and self._workers > 0
        return FaceLoader(
            faces, num_workers=self._workers, threads=not gpu, persistent_workers=kept, pin_memory=gpu, **options
        )


def used_rows(settings: TrainSettings, split: str) -> pc.Expression:
    """What holds for the rows of samples.parquet that a training uses of a split: see `chosen_rows`."""
    if settings.forgeries != "none" and split == "train":
        return chosen_rows(qualities=settings.qualities, real=True)
    return chosen_rows(settings.methods, settings.without, settings.qualities)


def _choose(labels: NDArray[np.int64], s: TrainSettings, seed: int) -> NDArray[np.int64]:
    """Indices of the samples that `limit` or `overfit` leaves, in order."""
    chosen = []
    for label in (0, 1):
        of_class = seeded_generator(seed, label).permutation(np.flatnonzero(labels == label))
        count = (s.overfit + label) // 2 if s.overfit else int(np.ceil(s.limit * len(of_class)))
        chosen.append(of_class[:count])
    return np.sort(np.concatenate(chosen))


class _Chosen(Sampler[Any]):
    """A sampler of some of the samples, or of batches of them: `sampler` gives places in `chosen`."""

    def __init__(self, chosen: NDArray[np.int64], sampler: BalancedSampler | BatchSampler) -> None:
        self._chosen, self._sampler = chosen, sampler
        self.set_epoch = sampler.set_epoch

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        return (self._chosen[places].tolist() for places in self._sampler)
