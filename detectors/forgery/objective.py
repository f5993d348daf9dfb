"""What a network is trained for: an objective turns its output for a batch into a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.options import Options

if TYPE_CHECKING:
    from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOutput

__all__ = ["Classification", "ForgeryObjective", "LossTerms", "TrainingStep", "classification_loss", "masked_mean"]


@dataclass(frozen=True)
class LossTerms:
    """A loss and its terms.

    Attributes:
        total: scalar to minimise.
        terms: each term by name, averaged and unweighted; for logs, in which `loss` is the total.

    Raises:
        ValueError: if a term is named `loss`.
    """

    total: Tensor
    terms: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if "loss" in self.terms:
            raise ValueError("A term named 'loss' would overwrite the total in logs: name it after what it measures.")


@dataclass(frozen=True)
class TrainingStep:
    """The step that a loss is computed in.

    Attributes:
        network: the detector that is trained, for objectives that need more of it than its output.
        epoch: counted from 0.
        batch: of the epoch, counted from 0; with accumulation, several batches make one weight update.
    """

    network: Any
    epoch: int = 0
    batch: int = 0


class ForgeryObjective(nn.Module, ABC):
    """Base class of the objectives: a subclass implements `forward`.

    Its parameters are trained with the network's, and its buffers are kept in checkpoints; neither is released with the
    network's weights.

    Args:
        network: that is to be trained; the objective must not keep it, since it would then be saved twice.
        options: an instance of `options_type`, made of `train.objective.options`.
    """

    options_type: ClassVar[type[Options]] = Options

    def __init__(self, network: "ForgeryDetector", options: Any) -> None:
        super().__init__()
        self.options = options

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the batch that are used besides images and labels, such as `mask`; no others are read."""
        return ()

    @abstractmethod
    def forward(self, output: Any, batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        """Compute the loss of a batch; every term is a mean, so that weights do not depend on batch or image size.

        Args:
            output: of the network, in training mode, for `batch.images`; a subclass may expect that of one network.
            batch: prepared, with the fields that `fields` names.
        """

    def after_step(self) -> None:  # not abstract: most objectives do nothing here
        """Called after every weight update."""

    def after_epoch(self) -> None:
        """Called after every training epoch."""


class Classification(ForgeryObjective):
    """Binary cross-entropy of the log-odds."""

    def forward(self, output: "ForgeryOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        loss = classification_loss(output.logit, batch.labels)
        return LossTerms(loss, {"classification": loss})


def classification_loss(logit: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of log-odds [B] against labels [B] in 0..1, in float32."""
    return F.binary_cross_entropy_with_logits(logit.float(), labels.float())


def masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the values [B] where `chosen`, bool [B], is true; 0 if it is true nowhere."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
