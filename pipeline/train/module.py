"""What a training and a validation step compute with a forgery detector."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector, TrainingStep, create_objective
from facemill.pipeline.config.train_settings import AugmentSettings, TrainSettings
from facemill.pipeline.data import Augmentation, prepare
from facemill.pipeline.data.forge import add_forgeries

__all__ = ["ForgeryModule"]

FORGERIES = 2  # purpose of the generator of forgeries: see `Augmentation.generator`


class ForgeryModule(nn.Module):
    """Prepares batches on the device, and computes the loss, or log-odds.

    Args:
        detector: is changed in place if `compiled` or `synchronised`.
        settings: its `objective` is created here, so that its weights are drawn after the detector's.
        synchronised: compute the statistics of norm layers over all ranks.
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
        # Not PyTorch's conversion, which drops the activations inside timm's norm layers.
        self.detector: ForgeryDetector = convert_sync_batchnorm(detector) if synchronised else detector
        self.objective = create_objective(detector, settings.objective.name, settings.objective.options)
        augment = AugmentSettings(flip=0) if settings.overfit else settings.augment
        self._augmentation = Augmentation(augment, seed=seed)
        self._forgeries = settings.forgeries
        self._seed = seed
        self._permuted_labels: Tensor | None = None
        if compiled:
            self.detector.compile()  # in place: calls from an objective are compiled too, and checkpoint keys stay

    def shuffle_labels(self, labels: NDArray[np.int64], device: torch.device) -> None:
        """Train on a permutation, fixed by the seed, of the training samples' labels, int64 [N], and without masks."""
        permuted = np.random.default_rng(self._seed).permutation(labels)
        self._permuted_labels = torch.from_numpy(permuted).to(device)

    def forward(self, take: Callable[[], ForgeryBatch], epoch: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a training batch: the total, a scalar, and its terms by name.

        Args:
            take: returns the batch on the device, of reals if forgeries are to be added; a function, since Fabric would
                rebuild a batch that it is given.
        """
        raw = take()
        if self._permuted_labels is not None:
            raw = raw.replace(label=self._permuted_labels[raw.index])
            if raw.has_mask is not None:
                raw["has_mask"] = torch.zeros_like(raw.has_mask)
        if self._forgeries != "none":
            rng = self._augmentation.generator(epoch, step, FORGERIES)
            raw = add_forgeries(raw, self._forgeries, self.objective.fields, rng)
        batch = prepare(raw, self.detector.input_spec, self._augmentation, epoch=epoch, step=step)
        output = self.detector(_channels_last(batch.images))
        loss = self.objective(output, batch, TrainingStep(self.detector, epoch, step))
        return loss.total, dict(loss.terms)

    def after_step(self) -> None:
        """To be called after every weight update."""
        self.detector.after_step()
        self.objective.after_step()

    def after_epoch(self) -> None:
        """To be called after every epoch."""
        self.detector.after_epoch()
        self.objective.after_epoch()

    @torch.no_grad()
    def score(self, raw: ForgeryBatch, detector: nn.Module) -> Tensor:
        """Log-odds [B], float32, of a validation batch on the device, by the detector or a copy of it."""
        images = _channels_last(prepare(raw, self.detector.input_spec).images)
        logit: Tensor = detector(images).logit
        return logit.float()


def _channels_last(images: Tensor) -> Tensor:
    """Images in channels-last layout on a GPU, which tensor cores prefer; clips stay as they are."""
    single = images.ndim == 4
    return images.contiguous(memory_format=torch.channels_last) if images.is_cuda and single else images
