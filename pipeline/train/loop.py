"""The training loop: epochs of steps and validation, with a log row and checkpoints after each."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch
from facemill.detectors.forgery.objective import classification_loss
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import TrainingData
from facemill.pipeline.data.split import describe_sample
from facemill.pipeline.evaluate.auroc import ranked_auroc
from facemill.pipeline.runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT
from facemill.pipeline.train.checkpoints import damage_told, read_checkpoint, write_checkpoint
from facemill.pipeline.train.epoch_log import EpochLog, Row, best_row
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.optimizers import at_the_worst
from facemill.pipeline.train.ranks import Means, copy_buffers, gather

__all__ = ["TrainingLoop"]

Losses = tuple[Tensor, dict[str, Tensor]]
CHECKED_STEPS = 50  # between two looks at the loss, each of which waits for the GPU


class TrainingLoop:
    """Trains a module on all ranks.

    Random generators are reseeded at every step from (seed, epoch, step, rank): a run resumed at the end of an epoch
    does what an uninterrupted one would have done, regardless of other uses of the generators.

    Args:
        fabric: launched.
        module: on the CPU; is moved to the device.
        run: folder for the checkpoints.
        steps: the largest number of weight updates in an epoch, and of batches in a validation; None for all.

    Attributes:
        rows: of log.csv, one for each epoch that has ended.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: ForgeryModule,
        optimizer: Optimizer,
        schedule: LRScheduler,
        data: TrainingData,
        run: Path,
        settings: TrainSettings,
        *,
        seed: int,
        steps: int | None = None,
    ) -> None:
        self._fabric, self._module, self._schedule, self._data = fabric, module, schedule, data
        self._run, self._settings, self._seed, self._steps = run, settings, seed, steps
        self._wrapped, self._optimizer = fabric.setup(module, optimizer)  # the module in DDP, with autocast
        self._average = None
        if settings.average:  # on the module's device; buffers are averaged too
            average = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(module.detector, multi_avg_fn=average, use_buffers=True)
        self._first_logits, self._scored = torch.empty(0), torch.empty(0, 2)
        self.rows: list[Row] = []

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one.

        Raises:
            ConfigError: if it is damaged.
        """
        last = self._run / LAST_CHECKPOINT
        if not last.exists():
            return
        content, best = read_checkpoint(last), self._run / BEST_CHECKPOINT
        # A damaged best one would end the run after all its work.
        for path, parts in ((best, read_checkpoint(best)), (last, content)):
            with damage_told(path):
                self._module.load_state_dict(parts["state_dict"])
        with damage_told(last):
            self._optimizer.load_state_dict(content["optimizer"])
            self._schedule.load_state_dict(content["schedule"])
            if self._average is not None:
                self._average.load_state_dict(content["average"])
            if isinstance(self._schedule, LambdaLR):  # a longer run may have other rates
                factors = [factor(self._schedule.last_epoch) for factor in self._schedule.lr_lambdas]
                bases = self._schedule.base_lrs
                for group, base, factor in zip(self._optimizer.param_groups, bases, factors, strict=True):
                    group["lr"] = base * factor
        self.rows = content["rows"]

    def run(self, log: EpochLog) -> None:
        """Train until the last epoch.

        Raises:
            ConfigError: if a loss or a validation output is not finite.
        """
        if self._settings.shuffle_labels:
            self._module.shuffle_labels(self._data.train.labels, self._fabric.device)
        for epoch in range(len(self.rows), self._settings.epochs):
            log.start_epoch(epoch)
            rate = max(group["lr"] for group in self._optimizer.param_groups)
            metrics = self._train(epoch, log) | self._validate(epoch)
            self.rows.append({"epoch": epoch, "learning_rate": rate, **dict(sorted(metrics.items()))})
            log.epoch(self.rows)
            self._module.after_epoch()
            self._schedule.step()
            self._save(epoch)

    def _train(self, epoch: int, log: EpochLog) -> Row:
        """Train for an epoch; returns the means of the loss and its terms over all ranks."""
        self._wrapped.train()
        self._data.set_epoch(epoch)
        size, means, step = self._settings.accumulate, Means(), 0
        batches = islice(self._data.train_loader, self._steps and self._steps * size)
        # At the epoch's end a group may be shorter: its gradients are averaged over its own number of batches.
        while group := list(islice(batches, size)):
            for place, (loss, terms) in enumerate(self._backward(group, epoch, step)):
                means.add({"train_loss": loss} | {f"train_{key}": x for key, x in terms.items()}, group[place].size)
                if (step + place) % CHECKED_STEPS == 0:
                    self._check(loss, epoch, step + place, log)
                log.step()
            if self._settings.sharpness:
                with at_the_worst(self._module, self._settings.sharpness):
                    deque(self._backward(group, epoch, step), maxlen=0)
            step += len(group)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._module.after_step()
            if self._average is not None:
                self._average.update_parameters(self._module.detector)
        self._check(loss, epoch, step - 1, log)
        return means.over_ranks(self._fabric)

    def _backward(self, group: Sequence[ForgeryBatch], epoch: int, step: int) -> Iterator[Losses]:
        """Compute the gradients of a group of batches; yields each batch's loss, and its terms by name."""
        for place, raw in enumerate(group):
            torch.manual_seed(hash((self._seed, epoch, step + place, self._fabric.global_rank)))
            with self._fabric.no_backward_sync(self._wrapped, enabled=place < len(group) - 1):
                loss, terms = self._wrapped(partial(raw.to, self._fabric.device), epoch, step + place)
                self._fabric.backward(loss / len(group))
            yield loss, terms

    def _check(self, loss: Tensor, epoch: int, step: int, log: EpochLog) -> None:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"The loss is not finite in epoch {epoch + 1}: lower train.optimizer.lr, or set "
                "train.precision=float32."
            )
        log.loss(value, epoch * self._data.steps + step)

    def _validate(self, epoch: int) -> Row:
        """Loss, AUC and accuracy of the whole validation split, from all ranks."""
        self._wrapped.eval()
        copy_buffers(self._module, self._fabric)
        if self._average is not None:
            self._average.eval()
            copy_buffers(self._average, self._fabric)
        detector = self._module.detector if self._average is None else self._average.module
        logits, labels, places = [], [], []
        with self._fabric.autocast():
            for raw in islice(self._data.val_loader, self._steps):
                raw = raw.to(self._fabric.device)
                logits.append(self._module.score(raw, detector))
                labels.append(raw.labels)
                places.append(raw.index)
        self._first_logits = logits[0].cpu()
        logit, label, place = (gather(values, self._fabric) for values in (logits, labels, places))
        broken = place[~logit.isfinite()]
        if len(broken):
            raise ConfigError(
                f"The detector's output for {describe_sample(self._data.val.samples, int(broken.min()))} is not finite "
                f"in the validation of epoch {epoch + 1}: lower train.optimizer.lr, or set train.precision=float32."
            )
        self._scored = torch.stack([place.double(), logit.double()], 1).cpu()
        accuracy = ((logit > 0) == label).float().mean()
        loss = classification_loss(logit, label)
        return {"val_loss": float(loss), "val_auc": ranked_auroc(logit, label), "val_acc": float(accuracy)}

    def _save(self, epoch: int) -> None:
        if not self._fabric.is_global_zero:
            return
        content = {
            "state_dict": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "epoch": epoch,
            "rows": self.rows,
            "first_logits": self._first_logits,
            "scored": self._scored,
        }
        # The best first: a run killed in between repeats this epoch on resume, and saves both.
        if best_row(self.rows) is self.rows[-1]:
            write_checkpoint(self._run / BEST_CHECKPOINT, content)
        write_checkpoint(self._run / LAST_CHECKPOINT, content)
