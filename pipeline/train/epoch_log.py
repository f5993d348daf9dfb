"""Metrics of each epoch of a run, as a CSV file that survives interruptions."""

import csv
import io
import logging
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from facemill import ConfigError
from facemill.manifests.storage import write_atomically

__all__ = ["EpochLog"]

logger = logging.getLogger(__name__)

CHECKED_STEPS = 50


class EpochLog(Callback):  # type: ignore[misc]  # it has no types
    """Keeps a row per epoch in checkpoints and in a CSV file.

    Lightning's CSV logger deletes the rows of earlier parts of a resumed run. Here the rows are stored in the
    checkpoint, so that a resumed run's file equals that of an uninterrupted run.

    Args:
        path: the CSV file.
        printed: also print the line that is logged for each epoch.
    """

    def __init__(self, path: Path, *, printed: bool = False) -> None:
        self.rows: list[dict[str, float]] = []
        self._rate = 0.0
        self._path = path
        self._printed = printed

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch: highest validation AUC, then lowest validation loss."""
        return max(self.rows, key=lambda row: (row["val_auc"], -row["val_loss"]))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        # Not read at the epoch's end, when it is already the next epoch's.
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del pl_module, batch
        # Only every few steps, since reading a value synchronises with the GPU.
        last = batch_idx + 1 == trainer.num_training_batches
        if (last or batch_idx % CHECKED_STEPS == 0) and not math.isfinite(outputs["loss"]):
            raise ConfigError(
                f"The loss is not finite in epoch {trainer.current_epoch + 1}: lower train.optimizer.lr, or set "
                "train.precision=float32."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if name != "loss"}
        self.rows.append({"epoch": trainer.current_epoch, "learning_rate": self._rate, **metrics})
        if not trainer.is_global_zero:
            return
        self._write()
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("train_loss", "val_loss", "val_auc"))
        line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}"
        logger.info(line)
        if self._printed:
            print(line)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def _write(self) -> None:
        text = io.StringIO()
        names = dict.fromkeys(name for row in self.rows for name in row)  # loss terms may start in later epochs
        writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self._path, text.getvalue().encode())
