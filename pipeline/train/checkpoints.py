"""The two checkpoints of a run: the last epoch's, for resuming, and the best epoch's, for release."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from facemill import ConfigError
from facemill.detectors.weights import reason_of
from facemill.manifests.storage import atomic_path
from facemill.pipeline.train.epoch_log import EpochLog

__all__ = ["AtomicCheckpoints", "RunCheckpoints", "read_checkpoint"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU.

    Raises:
        ConfigError: if it is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
        if not content.keys() >= {"state_dict", "callbacks", "epoch"}:
            raise ValueError("it lacks the parts of a checkpoint")
    except Exception as error:  # on damaged files torch raises exceptions of many types
        raise ConfigError(f"{path} is damaged ({reason_of(error)}): train again in another folder.") from None
    return content


class RunCheckpoints(Checkpoint):  # type: ignore[misc]  # it has no types
    """Saves a checkpoint after every epoch, after all other callbacks, and keeps the best.

    Among epochs with equal AUC the one with the lowest loss is the best. Lightning's `ModelCheckpoint` keeps the
    first of them, which on easy validation data is an early, barely trained one.
    """

    def __init__(self, log: EpochLog, *, last: Path, best: Path) -> None:
        self._log = log
        self._last = last
        self._best = best

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        # The best first: a run killed in between repeats this epoch on resume, and saves both.
        if self._log.best is self._log.rows[-1]:
            trainer.save_checkpoint(self._best)
        trainer.save_checkpoint(self._last)


class AtomicCheckpoints(TorchCheckpointIO):  # type: ignore[misc]  # it has no types
    """Writes checkpoint files atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        del storage_options
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        del map_location, weights_only
        return read_checkpoint(Path(path))
