"""MAT's objective (Eq. 5): cross-entropy, a loss on attended regions, and attention-guided augmentation."""

from typing import TYPE_CHECKING, Any

import torch

from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.mat.augment import attention_guided_augment
from facemill.detectors.forgery.mat.losses import AdditiveMarginLoss, RegionIndependenceLoss, region_vectors
from facemill.detectors.forgery.objective import ForgeryObjective, LossTerms, TrainingStep, classification_loss

if TYPE_CHECKING:
    from facemill.detectors.forgery.mat.network import MAT, MATOutput

__all__ = ["MATObjective"]


class MATObjective(ForgeryObjective):
    """Cross-entropy, the loss on regions, and cross-entropy of the augmented images; as the network's options say.

    The augmented images, made with the attention maps of the output, go through the network in a second pass here; they
    have no loss on regions, so that the centres depend on the output alone. Both passes update the running statistics
    of batch normalisation, as in the released code.
    """

    def __init__(self, network: "MAT", options: Any) -> None:
        super().__init__(network, options)
        kind, heads = network.options.loss, network.options.num_attentions
        self._name, self._agda = kind, network.options.agda
        losses = {"ams": AdditiveMarginLoss, "ril": RegionIndependenceLoss}
        more = {"form": network.options.ril_form} if kind == "ril" else {}
        self.region_loss = None if kind == "none" else losses[kind](heads, network.texture.in_channels, **more)

    def forward(self, output: "MATOutput", batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        terms = {"classification": classification_loss(output.logit, batch.labels)}
        if self.region_loss is not None:
            vectors = region_vectors(output.pooled, output.attentions)
            terms[self._name] = self.region_loss(vectors, batch.labels)
        if self.training and self._agda != "none":
            augmented = attention_guided_augment(batch.images, output.attentions, self._agda)
            terms["agda"] = classification_loss(step.network(augmented).logit, batch.labels)
        return LossTerms(torch.stack(list(terms.values())).sum(), terms)

    def after_step(self) -> None:
        """Move the centres."""
        if isinstance(self.region_loss, RegionIndependenceLoss):
            self.region_loss.after_step()

    def after_epoch(self) -> None:
        """Decay the rate of the centres."""
        if isinstance(self.region_loss, RegionIndependenceLoss):
            self.region_loss.after_epoch()
