"""The batches of a training run: both splits, distributed to the ranks."""

from collections.abc import Sequence
from typing import Any

import torch

from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data.balance import BalancedSampler
from facemill.pipeline.data.batching import UnitSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.fields import MASK
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.split import Roots

__all__ = ["TrainingData"]


class TrainingData:
    """Loads splits `train` and `val` in batches for `prepare`.

    The order depends on seed and epoch alone, so that a run resumed at an epoch continues like an uninterrupted one.

    Args:
        roots: folder of a built dataset, or several to train on together.
        settings: `frames`, `every` and `balance` apply to training only; `batch` is per rank here.
        workers: DataLoader processes per split.
        fields: of the training samples, besides image, label and index.
        rank, world: rank of this process in a distributed run, and number of ranks.

    Attributes:
        train, val: the datasets.
        train_loader: shuffled and balanced; an incomplete last batch is dropped unless it is the only one. With
            `batch_by`, see `UnitSampler`.
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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        s = settings
        self._workers = workers
        self.train = FaceDataset(roots, "train", frames=s.frames, every=s.every, seed=seed, fields=fields)
        self.val = FaceDataset(roots, "val", fields=())
        order: dict[str, Any] = {"balance": s.balance, "seed": seed, "rank": rank, "world": world}
        self._sampler: BalancedSampler | UnitSampler
        if s.batch_by == "none":
            self._sampler = BalancedSampler(self.train.labels, **order)
            drop = len(self._sampler) >= s.batch
            self.train_loader = self._loader(self.train, batch_size=s.batch, sampler=self._sampler, drop_last=drop)
        else:
            self._sampler = UnitSampler(self.train.samples, self.train.labels, s.batch_by, s.batch, **order)
            self.train_loader = self._loader(self.train, batch_sampler=self._sampler)
        self.val_loader = self._loader(self.val, batch_size=s.batch, sampler=range(rank, len(self.val), world))

    @property
    def steps(self) -> int:
        """Batches of the current epoch."""
        return len(self.train_loader)

    def set_epoch(self, epoch: int) -> None:
        """Use this epoch's order from the next iteration over `train_loader` on."""
        self._sampler.set_epoch(epoch)

    def _loader(self, faces: FaceDataset, **options: Any) -> FaceLoader:
        return FaceLoader(
            faces,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
