"""RECCE's objective: classification, reconstruction of real images, and metric learning."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.objective import (
    ForgeryObjective,
    LossTerms,
    TrainingStep,
    classification_loss,
    masked_mean,
)

if TYPE_CHECKING:
    from facemill.detectors.forgery.recce.network import RECCE, RECCEOutput

__all__ = ["RECCEObjective", "metric_loss"]


class RECCEObjective(ForgeryObjective):
    """L_cls + lambda_1 L_r + lambda_2 L_m, with the weights that the network's options state.

    L_r is the mean absolute error of the reconstructed reals, and 0 in batches without any; L_m is the sum of
    `metric_loss` over the encoder's features and the decoder's. Images combined by mixup only count for L_cls.
    """

    def __init__(self, network: "RECCE", options: Any) -> None:
        super().__init__(network, options)
        self._weights = (network.options.reconstruction_weight, network.options.metric_weight)

    def forward(self, output: "RECCEOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        labels = batch.labels
        terms = {
            "classification": classification_loss(output.logit, labels),
            "reconstruction": masked_mean(output.difference.float().mean((1, 2, 3)), labels == 0),
            "metric": torch.stack([metric_loss(vectors, labels) for vectors in output.features]).sum(),
        }
        reconstruction, metric = self._weights
        total = terms["classification"] + reconstruction * terms["reconstruction"] + metric * terms["metric"]
        return LossTerms(total, terms)


def metric_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    """Pulls reals together and pushes fakes off them: `1 - mean s(real, real) + mean s(real, fake)`.

    s is the cosine similarity, rescaled to 0..1. Fakes are not pulled together, since methods differ. The mean over no
    pairs is 0.

    Args:
        vectors: [B, C].
        labels: [B], 0 real, 1 fake; others take no part.
    """
    unit = F.normalize(vectors.float(), dim=1)
    similarity = (unit @ unit.mT + 1) / 2  # [B, B]
    real, fake = labels == 0, labels == 1
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    reals = real[:, None] & real & ~itself
    return 1 - masked_mean(similarity, reals) + masked_mean(similarity, real[:, None] & fake)
