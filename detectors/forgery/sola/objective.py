"""SOLA's objective (Eq. 11): classification, and local anomalies of first and second order."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.objective import ForgeryObjective, LossTerms, TrainingStep, classification_loss
from facemill.detectors.forgery.sola.anomaly import supervised_anomaly_loss, weak_anomaly_loss

if TYPE_CHECKING:
    from facemill.detectors.forgery.sola.network import SOLA, SOLAOutput

__all__ = ["SOLAObjective"]


class SOLAObjective(ForgeryObjective):
    """Eq. 11 with Eq. 10 or Eq. 12. With full supervision, samples without a mask add to the first term only."""

    def __init__(self, network: "SOLA", options: Any) -> None:
        super().__init__(network, options)
        self._weights = network.options.alpha, network.options.beta, network.options.gamma
        self._weak = network.options.supervision == "weak"

    @property
    def fields(self) -> tuple[str, ...]:
        return () if self._weak else ("mask",)

    def forward(self, output: "SOLAOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        classification = classification_loss(output.logit, batch.labels)
        first, second = self._anomaly_losses(output, batch)
        alpha, beta, gamma = self._weights
        total = alpha * classification + beta * first + gamma * second
        return LossTerms(total, {"classification": classification, "first_order": first, "second_order": second})

    def _anomaly_losses(self, output: "SOLAOutput", batch: ForgeryBatch) -> tuple[Tensor, Tensor]:
        first, second = output.first_logits, output.second_logits
        if self._weak:
            return weak_anomaly_loss(first, second, batch.labels)
        if batch.masks is None or batch.has_mask is None:
            zero = first.new_zeros(())
            return zero, zero
        return supervised_anomaly_loss(first, second, batch.masks, batch.has_mask)
