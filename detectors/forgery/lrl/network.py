"""Local Relation Learning for Face Forgery Detection (Chen et al., AAAI 2021)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import LUMA, BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.lrl.dct import DCTHighPass
from facemill.detectors.forgery.lrl.modules import RFAM, MaskDecoder, MultiScale, patch_similarity
from facemill.detectors.forgery.lrl.objective import LRLObjective
from facemill.detectors.forgery.precision import without_autocast
from facemill.masks.patches import patch_size

__all__ = ["LRL", "LRLOptions", "LRLOutput"]


class LRLOptions(BackboneOptions):
    """Options of `LRL`; the defaults are the full model; Table 4 varies `rgb`, `frequency`, `rfam` and `mpsm`."""

    size: Side = 299
    backbone: str = "tf_efficientnet_b4.aa_in1k"
    """timm network of each stream; the paper names none (another candidate: `legacy_xception.tf_in1k`)."""
    rgb: bool = True
    """Use the stream on the RGB image."""
    frequency: bool = True
    """Use the stream on the image's high frequencies."""
    rfam: bool = True
    """Fuse the two streams by attention; otherwise their maps are concatenated."""
    mpsm: bool = True
    """Classify by the similarity of patches; otherwise by the last map's mean."""
    k: Annotated[int, Field(ge=2)] = 5
    """Patches per side."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.33
    """Legs of the triangle of low frequencies that is removed, as a fraction of the side."""

    @model_validator(mode="after")
    def _streams_fit(self) -> "LRLOptions":
        if not (self.rgb or self.frequency):
            raise ValueError("one of 'rgb' and 'frequency' must be true")
        if self.rfam and not (self.rgb and self.frequency):
            raise ValueError("'rfam' fuses two streams: with only one of 'rgb' and 'frequency' set rfam=false")
        return self


@dataclass
class LRLOutput(ForgeryOutput):
    """Output of `LRL`.

    It does not include the predicted mask: `LRL.decode` computes it from `features` for the loss and explanations. The
    score does not depend on it, and the decoder more than doubles the cost of a forward pass.

    Attributes:
        features: float32 [B, C, h, w], the maps of all scales; without MPSM only the last scale's.
        similarity: float32 [B, k * k, k * k] in 0..1, of patches numbered row by row; None without MPSM.
    """

    features: Tensor
    similarity: Tensor | None


class LRL(ForgeryDetector):
    """Two streams, on the image and on its high frequencies, classified by the similarity of patches.

    The paper does not say where the streams are fused; here it is after the last stages of stride 8 and 16, and after
    the final stage. Attended maps are the input of the next stage. Without MPSM there are no multi-scale maps
    either (the paper's second variant has "the final feature maps"), and the classifier is linear on their mean.

    Raises:
        ConfigError: if the last map cannot be divided into k x k patches.
    """

    options_type = LRLOptions
    objective_type = LRLObjective
    options: LRLOptions

    def __init__(self, options: LRLOptions) -> None:
        super().__init__(options)
        self.rgb = options.create_backbone() if options.rgb else None
        self.frequency = options.create_backbone(in_channels=1) if options.frequency else None
        self.high_pass = DCTHighPass(options.size, options.alpha)
        backbone = self._streams[0]
        last = len(backbone.stages) - 1
        self.taps = (backbone.last_at(8), backbone.last_at(16), last)
        self.rfam = nn.ModuleDict({str(tap): RFAM(backbone.channels[tap]) for tap in self.taps if options.rfam})
        self.multi_scale = MultiScale()
        used = self.taps if options.mpsm else (last,)
        width = sum(backbone.channels[tap] for tap in used) * (1 if options.rfam else len(self._streams))
        if options.mpsm:
            side = -(-options.size // backbone.strides[-1])
            patch_size(side, side, options.k)  # refuses sizes that do not fit
        self.classifier = nn.Linear(options.k**4 if options.mpsm else width, 1)
        self.decoder = MaskDecoder(width)

    @property
    def cam_layer(self) -> nn.Module:
        if not self.options.mpsm:
            return self.multi_scale
        # Cosine similarity ignores the norm of a patch's features: on the last map Grad-CAM's weights cancel out.
        stream = self._streams[0]
        return stream.stages[stream.last_at(16)]

    def forward(self, images: Tensor) -> LRLOutput:
        maps = self._fused_maps(images)
        features: Tensor = self.multi_scale(maps if self.options.mpsm else maps[-1:])
        similarity = patch_similarity(features, self.options.k) if self.options.mpsm else None
        with without_autocast(images):  # bf16 has too few steps between 0.9 and 1
            evidence = features.mean((2, 3)) if similarity is None else similarity.flatten(1)
            logit = self.classifier(evidence)[:, 0]
        return LRLOutput(logit, features, similarity)

    def decode(self, output: LRLOutput, size: tuple[int, int]) -> Tensor:
        """Log-odds of each pixel being forged, [B, 1, *size]."""
        # The decoder's 1x1 convolution commutes with resizing, and is cheaper on the smaller map.
        return F.interpolate(self.decoder(output.features), size, mode="bilinear")

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """`similarity`: mean similarity of each of k x k patches to all, 0..1; `mask`: the predicted mask, 0..1."""
        output = self(images)
        height, width = images.shape[-2:]
        maps = {"mask": torch.sigmoid(self.decode(output, (height, width)))[:, 0]}
        if output.similarity is not None:
            maps["similarity"] = output.similarity.mean(2).unflatten(1, (self.options.k, self.options.k))
        return maps

    def _fused_maps(self, images: Tensor) -> list[Tensor]:
        """The maps of Eq. 6 at the three taps, each [B, C_l, h_l, w_l] (2 C_l if they are concatenated)."""
        maps = [images] if self.options.rgb else []
        if self.options.frequency:
            maps.append(self.high_pass(self._gray(images)))
        fused = []
        for index in range(self.taps[-1] + 1):
            maps = [stream.stages[index](x) for stream, x in zip(self._streams, maps, strict=True)]
            if index in self.taps and self.options.rfam:
                maps = list(self.rfam[str(index)](*maps))  # attended maps are the next stage's input
                fused.append(maps[0] + maps[1])
            elif index in self.taps:
                fused.append(torch.cat(maps, 1))
        return fused

    def _gray(self, images: Tensor) -> Tensor:
        """Luma [B, 1, H, W] in the units of a normalised channel, up to a constant, which the filter removes."""
        std = self.input_spec.std
        weights = [luma * channel / (sum(std) / 3) for luma, channel in zip(LUMA, std, strict=True)]
        red, green, blue = (w * channel for w, channel in zip(weights, images.float().unbind(1), strict=True))
        return (red + green + blue)[:, None]

    @property
    def _streams(self) -> list[Backbone]:
        return [stream for stream in (self.rgb, self.frequency) if stream is not None]
