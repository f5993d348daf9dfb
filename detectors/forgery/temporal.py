"""A baseline of clips: a network of timm on each frame, whose features are pooled over time."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.base import ClipOptions, ForgeryOutput, Side
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.timm_network import TimmNetwork, TimmOptions

__all__ = ["Temporal", "TemporalOptions"]


class TemporalOptions(ClipOptions, TimmOptions):
    """Options of `Temporal`."""

    size: Side = 224
    backbone: str = "resnet18.tv_in1k"
    """A network of timm: NAME, or NAME.TAG for its weights."""
    pretrained: bool = False
    pooling: Literal["gru", "mean"] = "gru"
    """The last state of a gated recurrent unit, or the mean over frames, which does not see their order."""


class Temporal(TimmNetwork):
    """A network of timm on each frame, a gated recurrent unit (or the mean) over time, linear layer to one logit.

    As the recurrent network of Sabir et al. (CVPR Workshops, 2019), with one unit in one direction.
    """

    options_type = TemporalOptions
    options: TemporalOptions

    def __init__(self, options: TemporalOptions) -> None:
        super().__init__(options)
        self.input_spec = replace(options.input_spec, clip=options.clip)
        width = self.classifier.in_features
        # Cells, since cuDNN's recurrent layer has no gradient in eval mode, which Grad-CAM needs.
        self.recurrence = nn.GRUCell(width, width) if options.pooling == "gru" else None

    def forward(self, images: Tensor) -> ForgeryOutput:
        frames = self.features.pool(self.features(images.flatten(0, 1)))  # [B T, C]
        with without_autocast(images):
            features = frames.float().reshape(-1, self.options.clip, frames.shape[1])  # [B, T, C]
            if self.recurrence is None:
                pooled = features.mean(1)
            else:
                pooled = torch.zeros_like(features[:, 0])  # the state [B, C], at last after all frames
                for frame in features.unbind(1):
                    pooled = self.recurrence(frame, pooled)
            return ForgeryOutput(self.classifier(self.dropout(pooled))[:, 0])
