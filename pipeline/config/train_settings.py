"""The `train:` section of a recipe: how a forgery detector is trained on the dataset."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from facemill.options import Probability
from facemill.pipeline.config.settings import Positive, Settings

__all__ = ["AugmentSettings", "OptimizerSettings", "ScheduleSettings", "TrainSettings"]

NonNegative = Annotated[float, Field(ge=0, le=1e3)]
Quality = Annotated[int, Field(ge=1, le=100)]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("a range starts with its smaller end")
    return bounds


Ascending = AfterValidator(_ascending)
"""Makes of a pair of bounds a range."""


class OptimizerSettings(Settings):
    """How weights are moved."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0, le=1e3)] = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Of Adam and AdamW; the first is SGD's momentum."""
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: NonNegative = 0.0


class ScheduleSettings(Settings):
    """How the learning rate falls."""

    name: Literal["constant", "step"] = "constant"
    every: Positive = 10
    """Epochs between two steps."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What the rate is multiplied by at a step."""


class AugmentSettings(Settings):
    """Random changes of the training crops, batched on the device, in this order.

    Each number is the probability of a change unless it says otherwise; a range is drawn from evenly.
    """

    jpeg: Probability = 0.0
    """JPEG compression."""
    jpeg_quality: Annotated[tuple[Quality, Quality], Ascending] = (60, 100)
    """Range of the JPEG quality."""
    noise: Probability = 0.0
    """Gaussian noise."""
    noise_std: Annotated[tuple[NonNegative, NonNegative], Ascending] = (0.01, 0.03)
    """Range of its standard deviation, for values in 0..1."""
    blur: Probability = 0.0
    """Gaussian blur."""
    blur_sigma: Annotated[tuple[Annotated[float, Field(gt=0)], NonNegative], Ascending] = (0.3, 1.0)
    """Range of its standard deviation, pixels."""
    flip: Probability = 0.5
    """Mirror left and right; masks follow."""
    colour: Probability = 0.0
    """Brightness and contrast, or hue, saturation and value: one of the two."""
    brightness: NonNegative = 0.2
    """Largest amount added, for values in 0..1."""
    contrast: NonNegative = 0.2
    """Largest change of contrast, as a share."""
    hue: NonNegative = 40.0
    """Largest turn of the hue, degrees."""
    saturation: NonNegative = 0.12
    """Largest amount added to the saturation, of 0..1."""
    value: NonNegative = 0.08
    """Largest amount added to the value, of 0..1."""
    gray: Probability = 0.0
    """Gray instead of colour."""
    affine: Probability = 0.0
    """Shift, scale and rotate about the centre, black coming in from outside; masks follow."""
    shift: Probability = 0.1
    """Largest shift, as a share of the side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Largest change of size, as a share."""
    rotate: NonNegative = 10.0
    """Largest rotation, degrees."""
    mixup: NonNegative = 0.0
    """Alpha of the Beta distribution that one mixing share a batch is drawn from; 0 for no mixing."""


class TrainSettings(Settings):
    """How a forgery detector is trained."""

    epochs: Positive = 10
    batch: Positive = 32
    """Crops a step, over all devices together, before accumulation."""
    accumulate: Positive = 1
    """Steps whose gradients are averaged before the weights move."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`auto` is mixed bf16 on a GPU and float32 elsewhere."""
    balance: Literal["none", "oversample"] = "oversample"
    """`oversample` repeats the rarer class until an epoch holds as many reals as fakes."""
    frames: Positive | None = None
    """Crops of each training video used, drawn once by seed; null for all that the dataset has."""
    every: Positive = 1
    """Use every n-th of a training video's sampled frames."""
    augment: AugmentSettings = AugmentSettings()
    shuffle_labels: bool = False
    """A control: train on labels dealt out anew by seed, without masks; what is learned then is a leak or chance."""
    model: dict[str, Any] = Field(default_factory=dict)
    """The detector's own options: see `facemill detectors NAME`."""
