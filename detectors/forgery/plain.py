"""Backbones with a linear classifier: the baselines that the papers compare with."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from facemill.detectors.forgery.base import BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["EfficientNetB4", "Plain", "PlainOptions", "ResNet18", "ResNet34", "Xception"]


class PlainOptions(BackboneOptions):
    """Options of `Plain`."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the pooled features."""


class Plain(ForgeryDetector):
    """Backbone, global average pooling, dropout, linear layer to one logit; trained by binary cross-entropy."""

    options_type = PlainOptions
    options: PlainOptions

    def __init__(self, options: PlainOptions) -> None:
        super().__init__(options)
        self.backbone = options.create_backbone()
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(self.backbone.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone.stages[-1]

    def forward(self, images: Tensor) -> ForgeryOutput:
        features = self.backbone(images)
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            pooled = features.float().mean((2, 3))
            return ForgeryOutput(self.classifier(self.dropout(pooled))[:, 0])


class _XceptionOptions(PlainOptions):
    size: Side = 299
    backbone: str = "legacy_xception.tf_in1k"


class Xception(Plain):
    """Xception (Chollet, CVPR 2017)."""

    options_type = _XceptionOptions


class _EfficientNetB4Options(PlainOptions):
    size: Side = 299
    backbone: str = "tf_efficientnet_b4.aa_in1k"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4


class EfficientNetB4(Plain):
    """EfficientNet-B4 (Tan and Le, ICML 2019)."""

    options_type = _EfficientNetB4Options


class _ResNet18Options(PlainOptions):
    size: Side = 256
    backbone: str = "resnet18.tv_in1k"


class ResNet18(Plain):
    """ResNet-18 (He et al., CVPR 2016)."""

    options_type = _ResNet18Options


class _ResNet34Options(PlainOptions):
    size: Side = 224
    backbone: str = "resnet34.tv_in1k"


class ResNet34(Plain):
    """ResNet-34 (He et al., CVPR 2016)."""

    options_type = _ResNet34Options
