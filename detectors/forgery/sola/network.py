"""SOLA: Learning Second Order Local Anomaly for General Face Forgery Detection (Fei et al., CVPR 2022).

A forged face is blended into an image, so neighbouring patches differ at the border between forged and real. SOLA
predicts such local anomalies of first and second order from colour and noise features, and classifies by them alone.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from facemill.detectors.forgery.base import RGB, BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.sola.anomaly import LocalAnomalies
from facemill.detectors.forgery.sola.noise import NoiseFilters
from facemill.detectors.forgery.sola.objective import SOLAObjective
from facemill.detectors.forgery.sola.trunk import fused_stages
from facemill.masks.local_anomaly import NEIGHBOURS

__all__ = ["SOLA", "SOLAOptions", "SOLAOutput"]

_STRIDE = 8  # pixels of the input per cell of the last stage's map
_NAMES = {"v1": "vertical 1", "v2": "vertical 2", "h1": "horizontal 1", "h2": "horizontal 2"}

Weight = Annotated[float, Field(ge=0)]


class SOLAOptions(BackboneOptions):
    """Options of `SOLA`; the defaults are the paper's weakly supervised model."""

    size: Side = 256
    """Side of the square input, pixels: a multiple of 8 times `patch`."""
    backbone: str = "resnet18.tv_in1k"
    """The paper's are ResNets with 18, 50 and 101 layers (Table 8)."""
    width: Annotated[int, Field(gt=0)] | None = None
    """Channels of a ResNet's first layer, doubled in each further layer; null for the network's own (64)."""
    supervision: Literal["weak", "full"] = "weak"
    """`weak` needs labels only (Eq. 12), `full` forgery masks (Eq. 10)."""
    noise: Literal["none", "srm", "lsrm", "asrm"] = "asrm"
    """Filters of the noise stream: fixed, learned, or learned under the constraint of Eq. 4 (Table 6); `none`: no
    noise stream."""
    lem: bool = True
    """Use local enhancement after each stage (Table 7)."""
    patch: Literal[8, 16, 32] = 16
    """Side of the grid of patches, for features, anomaly maps and local enhancement (Table 7)."""
    alpha: Weight = 1.0
    """Weight of the classification (Eq. 11); the paper does not give it."""
    beta: Weight = 1.0
    """Weight of the first order anomaly (Eqs. 10 and 12); the paper does not give it."""
    gamma: Weight = 1.0
    """Weight of the second order anomaly (Eqs. 10 and 12); the paper does not give it."""

    @classmethod
    def normalisation(cls, backbone: str) -> tuple[RGB, RGB]:
        """None: "normalize to [0, 1] by dividing 255" (section 4.1)."""
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _size_holds_the_patches(self) -> Self:
        unit = _STRIDE * self.patch
        if self.size % unit:
            raise ValueError(f"size must be a multiple of 8 x patch = {unit}: change the size or use a smaller patch")
        return self

    @model_validator(mode="after")
    def _weights_have_the_network_s_own_width(self) -> Self:
        if self.width is not None and self.pretrained and self.weights is None:
            raise ValueError("pretrained weights have the network's own width: leave width out or set pretrained=false")
        return self


@dataclass
class SOLAOutput(ForgeryOutput):
    """Output of `SOLA`. The dimension of size 4 is `facemill.masks.local_anomaly.NEIGHBOURS`: v1, v2, h1, h2.

    Attributes:
        first_logits: [B, 4, 64, h, w], log-odds of the first order anomaly (Eq. 7).
        second_logits: [B, 4, h, w], log-odds of the second order anomaly (Eq. 8).
    """

    first_logits: Tensor
    second_logits: Tensor


class SOLA(ForgeryDetector):
    """Two streams (colour, noise) of three stages, fused and enhanced after each; anomaly maps; classifier.

    Images are values in 0..1, not normalised, as in the paper. The paper's grid of 16x16 cells follows from `patch`,
    not from the input: images of other sizes have as many patches, larger or smaller.
    """

    options_type = SOLAOptions
    objective_type = SOLAObjective
    options: SOLAOptions

    def __init__(self, options: SOLAOptions) -> None:
        super().__init__(options)
        self.filters = None if options.noise == "none" else NoiseFilters(options.noise)
        # With max-pooling the third stage's map would already be 16x16, and each patch of it a single cell.
        shape = {"max_pool": False, "width": options.width}
        colour = options.create_backbone(**shape)
        noise = None if self.filters is None else options.create_backbone(**shape)
        self.stages = fused_stages(colour, noise, options.patch if options.lem else None)
        self.pool = nn.AdaptiveAvgPool2d(options.patch)  # "an additional pooling layer"
        self.anomalies = LocalAnomalies(colour.channels[colour.last_at(_STRIDE)])
        self.conv = nn.Conv2d(len(NEIGHBOURS), 64, 3, padding=1)
        self.classifier = nn.Linear(64, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.pool

    def forward(self, images: Tensor) -> SOLAOutput:
        noise = None if self.filters is None else self.filters(images)
        features = images
        for stage in self.stages:
            features, noise = stage(features, noise)
        features = self.pool(features)
        with without_autocast(features):  # the classifier's inputs are near 0 or 1, where bf16 is too coarse
            first, second = self.anomalies(features.float())
            pooled = self.conv(second.sigmoid()).relu().mean((2, 3))  # [B, 64]
            return SOLAOutput(self.classifier(pooled)[:, 0], first, second)

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """The anomaly maps, 0..1, [B, h, w] each; first order maps are averaged over their 64 channels."""
        output = self(images)
        orders = {"first": output.first_logits.sigmoid().mean(2), "second": output.second_logits.sigmoid()}
        return {
            f"{order} order {_NAMES[neighbour]}": maps[:, index]
            for order, maps in orders.items()
            for index, neighbour in enumerate(NEIGHBOURS)
        }

    def after_step(self) -> None:
        """Apply the constraint of Eq. 4 to the ASRM filters."""
        if self.filters is not None and self.filters.kind == "asrm":
            self.filters.constrain()
