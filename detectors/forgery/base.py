"""What every forgery detector does: face crops in, log-odds of being fake out.

Detectors are plain `torch.nn.Module`s: they know nothing of files, datasets, trainers or devices. Labels
are 0 for real and 1 for fake everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.options import Options

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ForgeryBatch",
    "ForgeryDetector",
    "ForgeryOptions",
    "ForgeryOutput",
    "InputSpec",
    "LossTerms",
    "Side",
    "classification_loss",
    "mean_over",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a detector wants to be given: square RGB crops, `(values / 255 - mean) / std`.

    Attributes:
        size: side of the crop, pixels.
        mean, std: per channel, of values in 0..1.
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def normalise(self, images: Tensor) -> Tensor:
        """Values in 0..1 [B, 3, H, W] to the detector's own range."""
        return (images - _per_channel(self.mean, images)) / _per_channel(self.std, images)


def _per_channel(values: tuple[float, ...], images: Tensor) -> Tensor:
    """Values as [C, 1, 1], of the images' kind; filled in on their device, as a copy from the CPU would wait for it."""
    return torch.stack([images.new_full((1, 1), value) for value in values])


Side = Annotated[int, Field(gt=0, le=8192)]
"""Of a square input, pixels."""


class ForgeryOptions(Options):
    """Options that all detectors share; each detector adds the switches that its paper's tables turn."""

    size: Side
    """Side of the square input, pixels."""
    backbone: str
    """A network in timm, of a family that `forgery.backbones` knows: NAME, or NAME.TAG for its weights."""
    pretrained: bool = False
    """Start the backbone from the weights of the tag in its name, which timm downloads; without a tag timm's default,
    which for some EfficientNets was trained on more than ImageNet."""
    weights: Path | None = None
    """Start the backbone from this file of weights instead (a state dict of the timm network)."""


@dataclass
class ForgeryOutput:
    """What a forward pass gives; detectors add fields of their own.

    Attributes:
        logit: [B], log-odds of fake.
    """

    logit: Tensor

    @property
    def score(self) -> Tensor:
        """Probability of fake, [B] in 0..1."""
        return torch.sigmoid(self.logit)


@dataclass(frozen=True)
class ForgeryBatch:
    """What a loss is computed against.

    Attributes:
        images: [B, 3, H, W], normalised as the detector's `input_spec` says.
        labels: float [B], 1 fake; between 0 and 1 where images were mixed.
        masks: float [B, 1, H, W], 1 where forged; None where the dataset has none.
        has_mask: bool [B], whether a sample's mask is known: true for reals (all zero), false for a fake
            without an original. None where `masks` is.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    has_mask: Tensor | None = None


@dataclass(frozen=True)
class LossTerms:
    """A loss and what it is made of.

    Attributes:
        total: scalar, what is minimised.
        terms: each term by name, a mean and before its weight; for logs, where `loss` is the total's name.

    Raises:
        ValueError: for a term named `loss`.
    """

    total: Tensor
    terms: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if "loss" in self.terms:
            raise ValueError("A term named 'loss' would overwrite the total in logs: name it after what it measures.")


def classification_loss(logit: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of log-odds [B] against labels [B] in 0..1, a mean, in float32."""
    return F.binary_cross_entropy_with_logits(logit.float(), labels.float())


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of those of values [B] that are chosen, bool [B]; 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


class ForgeryDetector(nn.Module, ABC):
    """Base of the forgery detectors.

    A subclass is made from one `options_type` object, sets `input_spec`, and implements `forward`; it
    overrides `loss`, `explain`, `after_step` and `after_epoch` where its paper has more to say.
    """

    options_type: ClassVar[type[ForgeryOptions]]
    input_spec: InputSpec

    def __init__(self, options: ForgeryOptions) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def forward(self, images: Tensor) -> ForgeryOutput:
        """Judge crops.

        Args:
            images: [B, 3, H, W], normalised as `input_spec` says; H and W may differ from its size.
        """

    @property
    def uses_masks(self) -> bool:
        """Whether the loss looks at forgery masks; where it does not, they need not be read."""
        return False

    @property
    @abstractmethod
    def cam_layer(self) -> nn.Module:
        """The module whose output, [B, C, h, w], Grad-CAM looks at: usually the last with spatial extent."""

    def loss(self, output: ForgeryOutput, batch: ForgeryBatch) -> LossTerms:
        """The paper's training loss; every term is a mean, so that weights keep their sense at any size."""
        loss = classification_loss(output.logit, batch.labels)
        return LossTerms(loss, {"classification": loss})

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """The detector's own pictures of where it looks, by name: each [B, h, w], of any range and size.

        Called in eval mode, without gradients. Empty where the paper shows none (Grad-CAM is apart).
        """
        del images
        return {}

    def after_step(self) -> None:  # most papers do nothing here
        """Called after every optimiser step."""

    def after_epoch(self) -> None:
        """Called after every training epoch."""
