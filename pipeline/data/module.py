"""Lightning's data module for training runs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data.balance import BalancedSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.opening import open_faces
from facemill.pipeline.data.sample import RawBatch
from facemill.pipeline.data.split import Roots
from facemill.pipeline.data.stream import StreamingFaces

__all__ = ["EpochLoader", "FaceDataModule"]


class EpochLoader(FaceLoader):
    """A `FaceLoader` that sets the epoch of its sampler or stream before each iteration.

    Lightning also sets the epoch of samplers, but only after it has started the first iteration and with it the
    workers, so that a resumed run would start with the order of epoch 0. It does not set the epoch of streams.

    Args:
        faces: `set_epoch` is called on a stream itself, otherwise on the `sampler` if it has the method.
        epoch: returns the current epoch.
    """

    def __init__(self, faces: FaceDataset | StreamingFaces, *, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(faces, **options)
        self._shuffled = faces if isinstance(faces, StreamingFaces) else self.sampler
        self._epoch = epoch

    def __iter__(self) -> Iterator[RawBatch]:  # type: ignore[override]  # as in `FaceLoader`
        set_epoch = getattr(self._shuffled, "set_epoch", None)
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
        masks: read forgery masks, for training.
    """

    def __init__(
        self, roots: Roots, settings: TrainSettings, *, workers: int = 0, seed: int = 0, masks: bool = True
    ) -> None:
        super().__init__()
        self._roots, self._settings, self._workers, self._seed, self._masks = roots, settings, workers, seed, masks

    def setup(self, stage: str | None = None) -> None:
        """Open both splits.

        Raises:
            DatasetError: if a dataset is unfinished or damaged, or lacks a split.
        """
        rank, world = self._rank_and_world
        options: dict[str, Any] = {"seed": self._seed, "rank": rank, "world": world}
        s = self._settings
        training: dict[str, Any] = {"frames": s.frames, "every": s.every, "balance": s.balance, "masks": self._masks}
        self._train = open_faces(self._roots, "train", shuffle=True, **training, **options)
        self._val = open_faces(self._roots, "val", masks=False, **options)

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
        if isinstance(self._train, StreamingFaces):
            return self._loader(
                self._train, drop_last=self._train.shortest_share(self._workers) >= self._settings.batch
            )
        sampler = BalancedSampler(
            self._train.labels, balance=self._settings.balance, seed=self._seed, rank=rank, world=world
        )
        return self._loader(self._train, sampler=sampler, drop_last=len(sampler) >= self._settings.batch)

    def val_dataloader(self) -> EpochLoader:
        """Every sample once, in order, over all ranks together."""
        if isinstance(self._val, StreamingFaces):
            return self._loader(self._val)
        rank, world = self._rank_and_world
        return self._loader(self._val, sampler=range(rank, len(self._val), world))

    @property
    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: FaceDataset | StreamingFaces, **options: Any) -> EpochLoader:
        return EpochLoader(
            dataset,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
            batch_size=self._settings.batch,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
