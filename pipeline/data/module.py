"""Lightning's data module for training runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data.balance import BalancedSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.fields import MASK
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.split import Roots

__all__ = ["EpochLoader", "FaceDataModule"]


class EpochLoader(FaceLoader):
    """A `FaceLoader` that sets the epoch of its sampler before each iteration.

    Lightning also sets the epoch of samplers, but only after it has started the first iteration and with it the
    workers, so that a resumed run would start with the order of epoch 0.

    Args:
        epoch: returns the current epoch.
    """

    def __init__(self, faces: FaceDataset, *, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(faces, **options)
        self._epoch = epoch

    def __iter__(self) -> Iterator[ForgeryBatch]:  # type: ignore[override]  # as in `FaceLoader`
        set_epoch = getattr(self.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self._epoch())
        return super().__iter__()


class FaceDataModule(LightningDataModule):  # type: ignore[misc]  # it has no types
    """Loads splits `train` and `val` in batches for `prepare`.

    Shuffling depends on seed and epoch alone, so that a run resumed at an epoch continues like an uninterrupted
    one. The `Trainer` needs `use_distributed_sampler=False`, since this module distributes samples to ranks.

    Args:
        roots: folder of a built dataset, or several to train on together.
        settings: `frames`, `every` and `balance` apply to training only; `batch` is per device here.
        workers: DataLoader processes per split.
        fields: of the training samples, besides image, label and index.
    """

    def __init__(
        self, roots: Roots, settings: TrainSettings, *, workers: int = 0, seed: int = 0, fields: Sequence[str] = (MASK,)
    ) -> None:
        super().__init__()
        self._roots, self._settings, self._workers, self._seed, self._fields = roots, settings, workers, seed, fields

    def setup(self, stage: str | None = None) -> None:
        """Open both splits.

        Raises:
            DatasetError: if a dataset is unfinished or damaged, or lacks a split.
        """
        s = self._settings
        self._train = FaceDataset(
            self._roots, "train", frames=s.frames, every=s.every, seed=self._seed, fields=self._fields
        )
        self._val = FaceDataset(self._roots, "val", fields=())

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """Labels of the training samples by index, [N]."""
        return self._train.labels

    @property
    def val_samples(self) -> pa.Table:
        """The validation samples' rows of samples.parquet, by index."""
        return self._val.samples

    def train_dataloader(self) -> EpochLoader:
        """Shuffled and balanced; an incomplete last batch is dropped unless it is the only one."""
        rank, world = self._rank_and_world
        sampler = BalancedSampler(
            self._train.labels, balance=self._settings.balance, seed=self._seed, rank=rank, world=world
        )
        return self._loader(self._train, sampler=sampler, drop_last=len(sampler) >= self._settings.batch)

    def val_dataloader(self) -> EpochLoader:
        """Every sample once, in order, over all ranks together."""
        rank, world = self._rank_and_world
        return self._loader(self._val, sampler=range(rank, len(self._val), world))

    @property
    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: FaceDataset, **options: Any) -> EpochLoader:
        return EpochLoader(
            dataset,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
            batch_size=self._settings.batch,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
