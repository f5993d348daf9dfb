"""F3-Net: two streams on an image's frequencies (Qian et al., Thinking in Frequency, ECCV 2020)."""

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from facemill import ConfigError
from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import LUMA, BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.f3net.frequency import FrequencyDecomposition, LocalFrequencyStatistics
from facemill.detectors.forgery.f3net.mix import MixBlock
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["F3Net", "F3NetOptions"]


class F3NetOptions(BackboneOptions):
    """Options of `F3Net`; the defaults are the full model; its ablation varies the first four switches."""

    size: Side = 299
    backbone: str = "legacy_xception.tf_in1k"
    """timm network of each stream."""
    fad: bool = True
    """Use the stream on the image's parts in frequency bands (FAD)."""
    lfs: bool = True
    """Use the stream on statistics of local frequencies (LFS)."""
    mix: bool = True
    """Let the streams attend to each other."""
    learnable: bool = True
    """Learn weights of frequencies, beside the fixed bands."""
    all_band: bool = False
    """Also give FAD's stream the whole spectrum, as a fourth part, as in third parties' implementations."""
    bands: Annotated[int, Field(ge=1, le=19)] = 6
    """M, bands of LFS."""
    positions: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (7, 12)
    """Stages of the backbone (of Xception: blocks) after which the streams are mixed."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability of the pooled features; not stated, as in third parties' implementations."""

    @model_validator(mode="after")
    def _streams_fit(self) -> "F3NetOptions":
        if not (self.fad or self.lfs):
            raise ValueError("one of 'fad' and 'lfs' must be true: without both it is the detector xception")
        if self.mix and not (self.fad and self.lfs):
            raise ValueError("'mix' needs two streams: with only one of 'fad' and 'lfs' set mix=false")
        return self


class F3Net(ForgeryDetector):
    """Two Xceptions, on FAD and LFS, mixed after blocks 7 and 12, whose pooled maps are classified together.

    The first convolution of the stream on LFS has no stride, since windows already halve the image, so that both
    streams' maps have one size; for sides at which they differ by a cell, those of LFS are resized to the other's.

    Raises:
        ConfigError: the backbone has no such position.
    """

    options_type = F3NetOptions
    options: F3NetOptions

    def __init__(self, options: F3NetOptions) -> None:
        super().__init__(options)
        self.views, self.streams = nn.ModuleDict(), nn.ModuleDict()
        if options.fad:
            fad = FrequencyDecomposition(options.size, all_band=options.all_band, learnable=options.learnable)
            self.views["fad"], self.streams["fad"] = fad, options.create_backbone(in_channels=3 * len(fad.base))
        if options.lfs:
            self.views["lfs"] = LocalFrequencyStatistics(options.bands, learnable=options.learnable)
            stream = options.create_backbone(in_channels=options.bands)
            next(layer for layer in stream.modules() if isinstance(layer, nn.Conv2d)).stride = (1, 1)
            self.streams["lfs"] = stream
        stream = self._backbones[0]
        last = len(stream.stages) - 1
        if options.mix and max(options.positions) > last:
            raise ConfigError(f"The backbone has no position {max(options.positions)}: its last stage is {last}.")
        self.mixes = nn.ModuleDict({str(at): MixBlock(stream.channels[at]) for at in options.positions if options.mix})
        self.joint = nn.Identity()
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(len(self.streams) * stream.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.joint

    def forward(self, images: Tensor) -> ForgeryOutput:
        maps = self._views_of(images)
        for index in range(len(self._backbones[0].stages)):
            maps = [stream.stages[index](x) for stream, x in zip(self._backbones, maps, strict=True)]
            if str(index) in self.mixes:
                maps = self.mixes[str(index)](*_alike(maps))
        features = self.joint(torch.cat(_alike(maps), 1))
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            return ForgeryOutput(self.classifier(self.dropout(features.float().mean((2, 3))))[:, 0])

    def _views_of(self, images: Tensor) -> list[Tensor]:
        """Input of each stream: the normalised image's parts, and statistics of its luma in 0..255."""
        maps = []
        if self.options.fad:
            maps.append(self.views["fad"](images))
        if self.options.lfs:
            colours = zip(LUMA, self.input_spec.restore(images).unbind(1), strict=True)
            red, green, blue = (255 * weight * colour for weight, colour in colours)
            maps.append(self.views["lfs"]((red + green + blue)[:, None]))
        return maps

    @property
    def _backbones(self) -> list[Backbone]:
        return [stream for stream in self.streams.values() if isinstance(stream, Backbone)]


def _alike(maps: list[Tensor]) -> list[Tensor]:
    """The maps [B, C, h, w], all in the first one's size."""
    size = maps[0].shape[-2:]
    return [x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear") for x in maps]
