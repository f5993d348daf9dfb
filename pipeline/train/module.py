"""The `LightningModule` of a forgery detector."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from timm.layers import convert_sync_batchnorm
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import StepLR
from torchmetrics.classification import BinaryAccuracy

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector
from facemill.detectors.forgery.base import classification_loss
from facemill.pipeline.config.train_settings import OptimizerSettings, TrainSettings
from facemill.pipeline.data import Augmentation, prepare
from facemill.pipeline.data.split import describe_sample
from facemill.pipeline.train.auroc import RankedAUROC

__all__ = ["FIRST_LOGITS", "ForgeryModule"]

FIRST_LOGITS = "first_validation_logits"
"""Checkpoint key: the log-odds [B], float32, of rank 0's first validation batch in that epoch."""

_NONE = 2**62
"""Larger than any sample's index."""


class ForgeryModule(LightningModule):  # type: ignore[misc]  # it has no types
    """Prepares batches on the device, computes the paper's loss, and measures AUC on the validation split.

    Random generators are reseeded at every step from (seed, epoch, step, rank): a run resumed at the end of an
    epoch does what an uninterrupted one would have done, regardless of other uses of the generators.

    Args:
        detector: is changed in place if `compiled` or `synchronised`.
        synchronised: batch normalisation over all ranks, since a recipe's batch is that of all devices together.
    """

    def __init__(
        self,
        detector: ForgeryDetector,
        settings: TrainSettings,
        *,
        seed: int,
        compiled: bool = False,
        synchronised: bool = False,
    ) -> None:
        super().__init__()
        # Not PyTorch's (or Lightning's) conversion, which drops the activations inside timm's norm layers.
        self.detector: ForgeryDetector = convert_sync_batchnorm(detector) if synchronised else detector
        self.settings = settings
        self.seed = seed
        self.augmentation = Augmentation(settings.augment, seed=seed)
        self.auc = RankedAUROC()
        self.accuracy = BinaryAccuracy()
        self._permuted_labels: Tensor | None = None
        self._first_logits = torch.empty(0)
        self._first_nonfinite = torch.tensor(_NONE)
        if compiled:
            self.detector.compile()  # in place: calls from a loss are compiled too, and checkpoint keys stay

    def on_fit_start(self) -> None:
        if self.settings.shuffle_labels:
            labels = self.trainer.datamodule.train_labels
            permuted = np.random.default_rng(self.seed).permutation(labels)
            self._permuted_labels = torch.from_numpy(permuted).to(self.device)

    def training_step(self, raw: ForgeryBatch, step: int) -> Tensor:
        if self._permuted_labels is not None:
            raw = raw.replace(label=self._permuted_labels[raw.index])
            if raw.has_mask is not None:
                raw["has_mask"] = torch.zeros_like(raw.has_mask)
        torch.manual_seed(hash((self.seed, self.current_epoch, step, self.global_rank)))
        batch = prepare(raw, self.detector.input_spec, self.augmentation, epoch=self.current_epoch, step=step)
        output = self.detector(self._channels_last(batch.images))
        loss = self.detector.loss(output, batch)
        per_epoch = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": len(batch.labels)}
        self.log("loss", loss.total, prog_bar=True, on_step=True, on_epoch=False, batch_size=len(batch.labels))
        self.log("train_loss", loss.total, **per_epoch)
        for name, term in loss.terms.items():
            self.log(f"train_{name}", term, **per_epoch)
        return loss.total

    def _channels_last(self, images: Tensor) -> Tensor:
        """Images in channels-last layout on a GPU, which tensor cores prefer."""
        return images.contiguous(memory_format=torch.channels_last) if images.is_cuda else images

    def validation_step(self, raw: ForgeryBatch, step: int) -> None:
        batch = prepare(raw, self.detector.input_spec)
        logit = self.detector(self._channels_last(batch.images)).logit
        labels = raw.labels
        if step == 0:
            self._first_logits = logit.float().cpu()
            self._first_nonfinite = torch.full((), _NONE, device=self.device)
        # Checked once per epoch, since reading a value synchronises with the GPU.
        self._first_nonfinite = torch.minimum(self._first_nonfinite, raw.index.where(~logit.isfinite(), _NONE).min())
        self.update_metrics(logit, labels)
        self.log("val_loss", classification_loss(logit, batch.labels), batch_size=len(labels), sync_dist=True)
        self.log("val_auc", self.auc, prog_bar=True, batch_size=len(labels))
        self.log("val_acc", self.accuracy, batch_size=len(labels))

    def update_metrics(self, logit: Tensor, labels: Tensor) -> None:
        """Add a validation batch's log-odds [B] and labels [B] to AUC and accuracy."""
        self.auc.update(logit, labels)
        self.accuracy.update(logit > 0, labels)

    def on_validation_epoch_end(self) -> None:
        first = int(self.all_gather(self._first_nonfinite).min())
        if first < _NONE:
            sample = describe_sample(self.trainer.datamodule.val_samples, first)
            raise ConfigError(
                f"The detector's output for {sample} is not finite in the validation of epoch "
                f"{self.current_epoch + 1}: lower train.optimizer.lr, or set train.precision=float32."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FIRST_LOGITS] = self._first_logits

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer | LightningOptimizer, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.detector.after_step()

    def on_train_epoch_end(self) -> None:
        self.detector.after_epoch()

    def configure_optimizers(self) -> Any:
        optimizer = _optimizer(self.detector, self.settings.optimizer)
        if self.settings.schedule.name == "constant":
            return optimizer
        schedule = StepLR(optimizer, self.settings.schedule.every, self.settings.schedule.gamma)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def _optimizer(detector: ForgeryDetector, settings: OptimizerSettings) -> Optimizer:
    weights = [weight for weight in detector.parameters() if weight.requires_grad]
    if settings.name == "sgd":
        return SGD(weights, settings.lr, settings.betas[0], weight_decay=settings.weight_decay)
    kind = Adam if settings.name == "adam" else AdamW
    return kind(weights, settings.lr, settings.betas, settings.eps, settings.weight_decay)
