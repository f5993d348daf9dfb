"""The data of a training run, as Lightning's `Trainer` asks for them."""

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
    """A `FaceLoader` that shuffles as its epoch says.

    Lightning tells samplers their epoch too, but starts the first iteration, and with it the workers, before
    it does so: a resumed run would begin with the order of epoch 0. It tells streams nothing.

    Args:
        faces: a stream is told the epoch itself, else its `sampler`, if it cares.
        epoch: gives the epoch that an iteration which starts now belongs to.
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
    """Trains on split `train` and validates on split `val`, in batches that `prepare` takes.

    Shuffling depends on seed and epoch alone, so that a run resumed at an epoch goes on as an undisturbed
    one would. The `Trainer` needs `use_distributed_sampler=False`: ranks are dealt with here.

    Args:
        roots: folder of a built dataset, or several to train on together.
        settings: `frames`, `every` and `balance` concern training alone; `batch` is that of one device here.
        workers: DataLoader processes a split.
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
            DatasetError: for a dataset that is unfinished or damaged, or lacks a split.
        """
        rank, world = self._place
        options: dict[str, Any] = {"seed": self._seed, "rank": rank, "world": world}
        s = self._settings
        training: dict[str, Any] = {"frames": s.frames, "every": s.every, "balance": s.balance, "masks": self._masks}
        self._train = open_faces(self._roots, "train", shuffle=True, **training, **options)
        self._val = open_faces(self._roots, "val", masks=False, **options)

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """Labels of the training samples by their index, [N]."""
        return self._train.labels

    @property
    def val_samples(self) -> pa.Table:
        """The validation samples' rows of samples.parquet, by their index."""
        return self._val.samples

    def train_dataloader(self) -> EpochLoader:
        """Shuffled and balanced; without the last batch where it is not full, unless there is no other."""
        rank, world = self._place
        if isinstance(self._train, StreamingFaces):
            return self._loader(
                self._train, drop_last=self._train.shortest_share(self._workers) >= self._settings.batch
            )
        sampler = BalancedSampler(
            self._train.labels, balance=self._settings.balance, seed=self._seed, rank=rank, world=world
        )
        return self._loader(self._train, sampler=sampler, drop_last=len(sampler) >= self._settings.batch)

    def val_dataloader(self) -> EpochLoader:
        """Every sample once, over all ranks together, in order."""
        if isinstance(self._val, StreamingFaces):
            return self._loader(self._val)
        rank, world = self._place
        return self._loader(self._val, sampler=range(rank, len(self._val), world))

    @property
    def _place(self) -> tuple[int, int]:
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
