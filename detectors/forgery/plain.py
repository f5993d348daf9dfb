"""A backbone with a linear classifier: the baselines that the papers compare with."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from facemill.detectors.forgery.backbones import create_backbone, input_statistics
from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec

__all__ = ["Plain", "PlainOptions"]


class PlainOptions(ForgeryOptions):
    """Options of `Plain`."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the pooled features dropped in training."""


class Plain(ForgeryDetector):
    """Backbone, global average pooling, dropout, linear layer to one log-odds; binary cross-entropy."""

    options_type = PlainOptions
    options: PlainOptions

    def __init__(self, options: PlainOptions) -> None:
        super().__init__(options)
        self.backbone = create_backbone(options.backbone, pretrained=options.pretrained, weights=options.weights)
        self.input_spec = InputSpec(options.size, *input_statistics(options.backbone))
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(self.backbone.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone.stages[-1]

    def forward(self, images: Tensor) -> ForgeryOutput:
        pooled = self.backbone(images).mean((2, 3))
        return ForgeryOutput(self.classifier(self.dropout(pooled))[:, 0])
