"""Interface of the forgery detectors: face crops in, log-odds of being fake out.

Detectors are plain `torch.nn.Module`s, independent of files, datasets, trainers and devices. Labels
are 0 for real and 1 for fake everywhere.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.objective import Classification, ForgeryObjective
from facemill.errors import ConfigError
from facemill.options import Options

if TYPE_CHECKING:
    from facemill.detectors.forgery.backbones import Backbone

__all__ = [
    *("IMAGENET_MEAN", "IMAGENET_STD", "LUMA", "RGB", "BackboneOptions", "ClipOptions", "ForgeryDetector"),
    *("ForgeryOptions", "ForgeryOutput", "InputSpec", "Level", "Side", "Spread"),
]

RGB = tuple[float, float, float]
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
LUMA: RGB = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in an image's luma (ITU-R BT.601)."""


@dataclass(frozen=True)
class InputSpec:
    """Input that a detector expects: square RGB crops, `(values / 255 - mean) / std`, or clips of them.

    Attributes:
        size: side of the crop, pixels.
        mean, std: per channel, of values in 0..1.
        clip: number of frames T of a clip; images are then [B, T, 3, H, W] here and in the detector. None for crops.
    """

    size: int
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    clip: int | None = None

    def check(self, images: Tensor) -> None:
        """Refuse clips where crops are expected, crops where clips are, and clips of another length.

        Raises:
            ConfigError: if the images have another shape.
        """
        if (found := images.shape[1] if images.ndim == 5 else None) != self.clip:
            wanted, given = (f"clips of {clip} frames" if clip else "single crops" for clip in (self.clip, found))
            raise ConfigError(
                f"The detector takes {wanted}, and these are {given}: open the dataset with clip={self.clip}."
            )

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images [B, 3, H, W] in 0..1 with `mean` and `std`."""
        return (images - _per_channel(self.mean, images)) / _per_channel(self.std, images)

    def restore(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`: images [B, 3, H, W] in 0..1, float32."""
        images = images.float()
        return images * _per_channel(self.std, images) + _per_channel(self.mean, images)

    def resize(self, images: Tensor) -> Tensor:
        """Resize images [B, 3, H, W] in 0..1 to [B, 3, size, size], bilinearly with antialiasing."""
        if images.shape[-2:] == (self.size, self.size):
            return images
        frames = images.flatten(0, -4)  # of clips; single crops stay as they are
        resized: Tensor = F.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=True)
        return resized.clamp(0, 1).reshape(*images.shape[:-2], self.size, self.size)

    def preprocess(self, crops: Tensor) -> Tensor:
        """Make a detector's input, [N, 3, size, size], of RGB crops, as evaluation does.

        Args:
            crops: [N, 3, H, W], uint8, or float in 0..1; clips [N, T, 3, H, W].

        Raises:
            ValueError: for another shape, type or range.
        """
        clip = () if self.clip is None else (self.clip,)
        if crops.ndim != 4 + len(clip) or crops.shape[1:-2] != (*clip, 3):
            shape = ", ".join(map(str, ("N", *clip, 3, "H", "W")))
            place = "second" if self.clip is None else "third"
            raise ValueError(f"Crops are [{shape}], not {list(crops.shape)}: put the channels {place}.")
        if crops.dtype == torch.uint8:
            crops = crops.float() / 255
        elif not crops.is_floating_point() or not bool(((crops >= 0) & (crops <= 1)).all()):
            raise ValueError(f"Crops are uint8, or float in 0..1, and these ({crops.dtype}) are not: convert them.")
        return self.normalise(self.resize(crops.float()))


def _per_channel(values: tuple[float, ...], images: Tensor) -> Tensor:
    """Values as [C, 1, 1], of the images' dtype; created on their device, since a copy from the CPU would block."""
    return torch.stack([images.new_full((1, 1), value) for value in values])


Side = Annotated[int, Field(gt=0, le=8192)]
"""Side of a square input, pixels."""
Level = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=10)]


class ForgeryOptions(Options):
    """Options that all detectors share; each detector adds the switches that its paper's tables vary."""

    size: Side
    """Side of the square input, pixels."""

    @property
    def sampling(self) -> dict[str, Any]:
        """Arguments of `FaceDataset` for the detector's samples: none for single crops."""
        return {}


class ClipOptions(ForgeryOptions):
    """Options of the detectors whose samples are clips, consecutive frames of one face."""

    clip: Annotated[int, Field(ge=2, le=1024)] = 16
    """Frames of a clip."""
    stride: Annotated[int, Field(ge=1, le=1024)] = 1
    """Step from each frame of a clip to the next, in frames of the video."""

    @property
    def sampling(self) -> dict[str, Any]:
        return {"clip": self.clip, "stride": self.stride}


class BackboneOptions(ForgeryOptions):
    """Options of the detectors that are built on a network of timm."""

    backbone: str
    """A timm network of a family that `forgery.backbones` supports: NAME, or NAME.TAG for its weights."""
    pretrained: bool = False
    """Initialise the backbone with the weights of the tag in its name, which timm downloads; without a tag with timm's
    default, which for some EfficientNets was trained on more than ImageNet."""
    weights: Path | None = None
    """Initialise the backbone from this weights file instead (a state dict of the timm network)."""
    mean: tuple[Level, Level, Level] | None = None
    """Mean of each channel that is subtracted from the input, for values in 0..1; null for what the paper or its
    release states for the backbone, or otherwise for the mean that the backbone's weights were trained with."""
    std: tuple[Spread, Spread, Spread] | None = None
    """Standard deviation that each channel of the input is divided by; null as for `mean`."""

    @classmethod
    def normalisation(cls, backbone: str) -> tuple[RGB, RGB]:
        """Mean and standard deviation of the input for a backbone, where the options give none.

        Overridden where a paper or its release states them.
        """
        from facemill.detectors.forgery.backbones import input_statistics  # needs timm, which reading data does not

        return input_statistics(backbone)

    @model_validator(mode="after")
    def _normalisation_is_known(self) -> Self:
        # Filled in here, so that a run records the values it was trained with, whatever the defaults are later.
        mean, std = self.normalisation(self.backbone)
        object.__setattr__(self, "mean", self.mean or mean)  # the model is frozen
        object.__setattr__(self, "std", self.std or std)
        return self

    def create_backbone(self, **more: Any) -> "Backbone":
        """Create the network with its weights; `more` are arguments of `backbones.create_backbone`."""
        from facemill.detectors.forgery.backbones import create_backbone

        return create_backbone(self.backbone, pretrained=self.pretrained, weights=self.weights, **more)

    @property
    def input_spec(self) -> InputSpec:
        """The input: `size`, `mean` and `std`."""
        assert self.mean is not None
        assert self.std is not None
        return InputSpec(self.size, self.mean, self.std)


@dataclass
class ForgeryOutput:
    """Output of a forward pass; detectors add their own fields.

    Attributes:
        logit: [B], log-odds of fake.
    """

    logit: Tensor

    @property
    def score(self) -> Tensor:
        """Probability of fake, [B] in 0..1."""
        return torch.sigmoid(self.logit)


class ForgeryDetector(nn.Module, ABC):
    """Base class of the forgery detectors.

    A subclass takes one `options_type` object, sets `input_spec` unless that is of `BackboneOptions`, and implements
    `forward` and `cam_layer`; it overrides `explain`, `after_step` and `objective_type` as its paper requires.
    """

    options_type: ClassVar[type[ForgeryOptions]]
    objective_type: ClassVar[type[ForgeryObjective]] = Classification
    """What the paper trains the network for."""
    input_spec: InputSpec

    def __init__(self, options: ForgeryOptions) -> None:
        super().__init__()
        self.options = options
        if isinstance(options, BackboneOptions):
            self.input_spec = options.input_spec

    @abstractmethod
    def forward(self, images: Tensor) -> ForgeryOutput:
        """Classify crops.

        Args:
            images: [B, 3, H, W], or clips [B, T, 3, H, W], normalised as `input_spec` says; H and W may differ from its
                size.
        """

    @property
    @abstractmethod
    def cam_layer(self) -> nn.Module:
        """The module whose output Grad-CAM uses: usually the last with spatial extent."""

    def cam_map(self, output: Tensor) -> Tensor:
        """Output of `cam_layer`, or its gradient, as [B, C, h, w]; overridden where it has another layout.

        Of clips [B T, C, h, w], or [B, C, t, h, w] with any number of steps t.
        """
        return output

    def preprocess(self, crops: Tensor) -> Tensor:
        """Make the input of crops [N, 3, H, W] or clips [N, T, 3, H, W]: see `InputSpec.preprocess`."""
        return self.input_spec.preprocess(crops)

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """The detector's own heat maps by name: each [B, h, w], of clips [B, T, h, w], of any range and size.

        Called in eval mode, without gradients. Empty if the paper shows none (Grad-CAM is separate).
        """
        return {}

    def check_objective(self, objective: ForgeryObjective) -> None:  # not abstract: most networks do nothing here
        """Refuse an objective that would train only a part of the network.

        Raises:
            ConfigError: if some weights would get no gradient, which is an error in distributed training.
        """

    def after_step(self) -> None:  # not abstract: most networks do nothing here
        """Called after every weight update, to keep weights within the paper's constraints."""

    def after_epoch(self) -> None:
        """Called after every training epoch."""
