"""The batches of a training run: both splits, distributed to the ranks."""

from typing import Any

import torch

from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data.balance import BalancedSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.opening import open_faces
from facemill.pipeline.data.split import Roots
from facemill.pipeline.data.stream import StreamingFaces

__all__ = ["TrainingData"]


class TrainingData:
    """Loads splits `train` and `val` in batches for `prepare`.

    The order depends on seed and epoch alone, so that a run resumed at an epoch continues like an uninterrupted one.

    Args:
        roots: folder of a built dataset, or several to train on together.
        settings: `frames`, `every` and `balance` apply to training only; `batch` is per rank here.
        workers: DataLoader processes per split.
        masks: read forgery masks, for training.
        rank, world: rank of this process in a distributed run, and number of ranks.

    Attributes:
        train, val: the datasets.
        train_loader: shuffled and balanced; an incomplete last batch is dropped unless it is the only one.
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
        masks: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        s = settings
        self._workers, self._batch = workers, s.batch
        ranks: dict[str, Any] = {"seed": seed, "rank": rank, "world": world}
        training: dict[str, Any] = {"frames": s.frames, "every": s.every, "balance": s.balance, "masks": masks}
        self.train = open_faces(roots, "train", shuffle=True, **training, **ranks)
        self.val = open_faces(roots, "val", masks=False, **ranks)
        if isinstance(self.train, StreamingFaces):
            self._shuffled: StreamingFaces | BalancedSampler = self.train
            self.train_loader = self._loader(self.train, drop_last=self.train.shortest_share(workers) >= s.batch)
        else:
            self._shuffled = BalancedSampler(self.train.labels, balance=s.balance, **ranks)
            drop = len(self._shuffled) >= s.batch
            self.train_loader = self._loader(self.train, sampler=self._shuffled, drop_last=drop)
        in_order = {} if isinstance(self.val, StreamingFaces) else {"sampler": range(rank, len(self.val), world)}
        self.val_loader = self._loader(self.val, **in_order)

    @property
    def steps(self) -> int | None:
        """Batches of an epoch; None if not known in advance."""
        return None if isinstance(self.train, StreamingFaces) else len(self.train_loader)

    def set_epoch(self, epoch: int) -> None:
        """Use this epoch's order from the next iteration over `train_loader` on."""
        self._shuffled.set_epoch(epoch)

    def _loader(self, faces: FaceDataset | StreamingFaces, **options: Any) -> FaceLoader:
        return FaceLoader(
            faces,
            batch_size=self._batch,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
