"""LRL's objective (Eq. 13): classification, similarity of patches, and the forgery mask."""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.objective import (
    ForgeryObjective,
    LossTerms,
    TrainingStep,
    classification_loss,
    masked_mean,
)
from facemill.masks.patches import similarity_target

if TYPE_CHECKING:
    from facemill.detectors.forgery.lrl.network import LRL, LRLOutput

__all__ = ["LRLObjective"]

SIMILARITY_WEIGHT = 10.0  # lambda_1 of Eq. 13
MASK_WEIGHT = 1.0  # lambda_2


class LRLObjective(ForgeryObjective):
    """L_ce + 10 L_sim + L_seg (Eq. 13), with means in place of the norm and the sum of Eqs. 10 and 12.

    Samples without a mask contribute to the classification term only.
    """

    def __init__(self, network: "LRL", options: Any) -> None:
        super().__init__(network, options)
        self._k = network.options.k

    @property
    def fields(self) -> tuple[str, ...]:
        return ("mask",)

    def forward(self, output: "LRLOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        height, width = batch.images.shape[-2:]
        # If no mask is known, terms of 0 keep every parameter in the graph, as DDP requires.
        masks, known = batch.masks, batch.has_mask
        if masks is None or known is None:
            masks = batch.images.new_zeros(len(batch.images), 1, height, width)
            known = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
        mask_logits = step.network.decode(output, (height, width)).float()
        errors = F.binary_cross_entropy_with_logits(mask_logits, masks.float(), reduction="none")
        terms = {
            "classification": classification_loss(output.logit, batch.labels),
            "mask": masked_mean(errors.mean((1, 2, 3)), known),
        }
        total = terms["classification"] + MASK_WEIGHT * terms["mask"]
        if output.similarity is not None:
            errors = (output.similarity - similarity_target(masks, self._k)).square()
            terms["similarity"] = masked_mean(errors.mean((1, 2)), known)
            total = total + SIMILARITY_WEIGHT * terms["similarity"]
        return LossTerms(total, terms)
