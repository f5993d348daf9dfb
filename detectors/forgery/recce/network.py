"""RECCE: reconstruction of real faces guides classification (Cao et al., CVPR 2022).

A decoder learns to reconstruct real images only: what it cannot reconstruct is evidence of a forgery, known or not.
"""

from dataclasses import dataclass
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from facemill import ConfigError
from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.objective import Classification, ForgeryObjective
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.recce.decoder import Decoder
from facemill.detectors.forgery.recce.modules import GraphReasoning, GuidedAttention
from facemill.detectors.forgery.recce.objective import RECCEObjective

__all__ = ["RECCE", "RECCEOptions", "RECCEOutput"]

Weight = Annotated[float, Field(ge=0)]
Stage = Annotated[int, Field(ge=0)]


class RECCEOptions(BackboneOptions):
    """Options of `RECCE`; the defaults are the full model; its ablation varies the first four."""

    size: Side = 299
    backbone: str = "legacy_xception.tf_in1k"
    reconstruction_weight: Weight = 0.1
    """lambda_1, weight of the reconstruction of reals."""
    metric_weight: Weight = 0.1
    """lambda_2, weight of metric learning."""
    reasoning: bool = True
    """Use multi-scale graph reasoning over the encoder's and the decoder's features."""
    attention: bool = True
    """Use attention that the reconstruction's error guides."""
    noise: Weight = 1e-6
    """Standard deviation of the noise that is added to half of the training images, for values in -1..1."""
    stages: tuple[Stage, Stage, Stage] = (4, 7, 8)
    """Stages of the backbone (of Xception: blocks) after which are the decoder, reasoning and attention; the first two
    have one stride."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability: of the decoder's input, in reasoning and attention, and of the pooled features."""

    @model_validator(mode="after")
    def _stages_are_in_order(self) -> Self:
        if list(self.stages) != sorted(self.stages):
            raise ValueError("'stages' are those after which the decoder, reasoning and attention are, in that order")
        return self


@dataclass
class RECCEOutput(ForgeryOutput):
    """Output of `RECCE`.

    Attributes:
        difference: float32 [B, 3, H, W], absolute error of the reconstruction of the image in -1..1, without its noise.
        features: [B, C_i] each, means of the map that is decoded and of the decoder's two maps.
        attention: [B, 1, h, w] in 0..1; None without attention.
    """

    difference: Tensor
    features: tuple[Tensor, ...]
    attention: Tensor | None


class RECCE(ForgeryDetector):
    """Xception, a decoder after block 4, graph reasoning after block 7, guided attention after block 8.

    Raises:
        ConfigError: the backbone has no such stage, or another stride at reasoning than at the decoder.
    """

    options_type = RECCEOptions
    objective_type = RECCEObjective
    options: RECCEOptions

    def __init__(self, options: RECCEOptions) -> None:
        super().__init__(options)
        self.backbone = options.create_backbone()
        _check(self.backbone, options.stages)
        decoded, reasoned, attended = (self.backbone.channels[stage] for stage in options.stages)
        self.decoder = Decoder(decoded)
        self.reasoning = GraphReasoning(reasoned, Decoder.widths, options.dropout) if options.reasoning else None
        self.attention = GuidedAttention(attended, options.dropout) if options.attention else None
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(self.backbone.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone.stages[-1]

    def forward(self, images: Tensor) -> RECCEOutput:
        clean = 2 * self.input_spec.restore(images) - 1
        x = self._add_noise(clean).to(images.dtype) if self.training else images
        decode, reason, attend = self.options.stages
        for index, stage in enumerate(self.backbone.stages):
            x = stage(x)
            if index == decode:
                *maps, image = self.decoder(self.dropout(x))
                features = tuple(values.float().mean((2, 3)) for values in (x, *maps))
                resized = F.interpolate(image.float(), clean.shape[-2:], mode="bilinear", align_corners=True)
                difference = (clean - resized).abs()
            if index == reason and self.reasoning is not None:
                x = x + self.reasoning(x, maps)
            if index == attend and self.attention is not None:
                x, attention = self.attention(difference, x)
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            logit = self.classifier(self.dropout(x.float().mean((2, 3))))[:, 0]
        return RECCEOutput(logit, difference, features, None if self.attention is None else attention)

    def check_objective(self, objective: ForgeryObjective) -> None:
        # Reasoning takes the decoder's maps, but the image that it reconstructs only attention and the paper's losses.
        if isinstance(objective, Classification) and self.attention is None:
            raise ConfigError(
                "Without attention, classification alone does not train RECCE's decoder: use train.objective.name="
                "paper, with reconstruction_weight=0 and metric_weight=0 for the same loss."
            )

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """`difference`: error of the reconstruction, mean over the channels; `attention`: where it guides to, 0..1."""
        output = self(images)
        maps = {"difference": output.difference.mean(1)}
        return maps if output.attention is None else {**maps, "attention": output.attention[:, 0]}

    def _add_noise(self, clean: Tensor) -> Tensor:
        """Half of the images in -1..1 with noise, all of them normalised."""
        chosen = torch.rand(len(clean), 1, 1, 1, device=clean.device) < 0.5
        noisy = (clean + self.options.noise * torch.randn_like(clean) * chosen).clamp(-1, 1)
        return self.input_spec.normalise((noisy + 1) / 2)


def _check(backbone: Backbone, stages: tuple[int, int, int]) -> None:
    last = len(backbone.stages) - 1
    if stages[-1] > last:
        raise ConfigError(f"The backbone has no stage {stages[-1]}: its last one is {last}.")
    decode, reason, _ = stages
    if backbone.strides[decode] != backbone.strides[reason]:
        raise ConfigError(
            f"The strides of stages {decode} and {reason} differ, {backbone.strides[decode]} and "
            f"{backbone.strides[reason]}: choose two of one stride for the decoder and reasoning."
        )
