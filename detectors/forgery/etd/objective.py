"""ETD's objective (Eq. 13): cross-entropy of all heads and the two information losses, with learned weights."""

from typing import TYPE_CHECKING, Any

import torch

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.etd.losses import (
    LearnedWeighting,
    global_information_loss,
    local_information_loss,
    soft_cross_entropy,
)
from facemill.detectors.forgery.objective import ForgeryObjective, LossTerms, TrainingStep

if TYPE_CHECKING:
    from facemill.detectors.forgery.etd.network import ETD, ETDOutput

__all__ = ["ETDObjective"]


class ETDObjective(ForgeryObjective):
    """Eq. 13; its cross-entropy is the sum over P_G, P_Z, and each P_{Z without z_i}.

    Local heads, if there are any, add the mean of their cross-entropies.
    """

    def __init__(self, network: "ETD", options: Any) -> None:
        super().__init__(network, options)
        self._gil, self._lil = network.options.gil, network.options.lil
        self.weighting = LearnedWeighting(1 + self._gil + self._lil)

    def forward(self, output: "ETDOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        heads = torch.cat([output.fused[:, None], output.joint[:, None], output.without], 1)  # [B, 2 + n, 2]
        classification = soft_cross_entropy(heads, batch.labels).sum()
        if output.local is not None:
            classification = classification + soft_cross_entropy(output.local, batch.labels).mean()
        terms = {"classification": classification}
        if self._gil:
            terms["global_information"] = global_information_loss(output.joint, output.fused)
        if self._lil:
            terms["local_information"] = local_information_loss(output.joint, output.without)
        return LossTerms(self.weighting(torch.stack(list(terms.values()))), terms)
