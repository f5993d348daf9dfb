"""Spatial-Phase Shallow Learning (Liu et al., CVPR 2021): an image and its phase, in a shallow network.

Most forgeries contain up-sampling, which changes the phase spectrum, and is seen in texture rather than in semantics.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from facemill import ConfigError
from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.spsl.phase import phase_image

__all__ = ["SPSL", "SPSLOptions"]


class SPSLOptions(BackboneOptions):
    """Options of `SPSL`; the defaults are the whole method."""

    size: Side = 299
    backbone: str = "legacy_xception.tf_in1k"
    phase: bool = True
    """Use the phase as the fourth channel; otherwise the image alone."""
    drop: tuple[Annotated[int, Field(ge=1)], ...] = (4, 5, 6, 7, 8, 9, 10, 11)
    """Stages of the backbone that are left out, of those of an Xception its blocks; none for the whole network."""


class SPSL(ForgeryDetector):
    """A shallow Xception on the image and its phase, global average pooling, linear layer; trained by cross-entropy.

    The authors published no code. Blocks 1 to 3 and 12 are kept, as in DeepfakeBench's shallow Xception (its SPSL has
    all blocks): the middle flow changes neither the map's size nor its channels, so that the others keep their ImageNet
    weights. The phase is that of the mean of the three channels, as there; its scale, not stated either, is that of a
    normalised channel (see `phase_image`), and sqrt(H W) times DeepfakeBench's.

    Raises:
        ConfigError: the backbone has no such stage to leave out, or needs it.
    """

    options_type = SPSLOptions
    options: SPSLOptions

    def __init__(self, options: SPSLOptions) -> None:
        super().__init__(options)
        self.backbone = _without(options.create_backbone(in_channels=4 if options.phase else 3), options.drop)
        self.classifier = nn.Linear(self.backbone.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone.stages[-1]

    def forward(self, images: Tensor) -> ForgeryOutput:
        if self.options.phase:
            gray = self.input_spec.restore(images).mean(1, keepdim=True)
            images = torch.cat((images, phase_image(gray).to(images.dtype)), 1)
        features = self.backbone(images)
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            return ForgeryOutput(self.classifier(features.float().mean((2, 3)))[:, 0])


def _without(backbone: Backbone, drop: tuple[int, ...]) -> Backbone:
    """The backbone with an identity in place of each dropped stage, so that the others keep their numbers."""
    stages = list(backbone.stages)
    for index in drop:
        if index >= len(stages):
            raise ConfigError(f"The backbone has no stage {index} to drop: its last one is {len(stages) - 1}.")
        stages[index] = nn.Identity()
    try:
        return Backbone(stages)
    except RuntimeError:  # of a layer that gets another number of channels than it has weights for
        raise ConfigError(
            f"The backbone's stages do not fit together without {', '.join(map(str, drop))}: drop stages that leave "
            f"the number of channels as it is (after its stages there are {backbone.channels})."
        ) from None
