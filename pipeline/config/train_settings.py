"""The `train:` section of a recipe: how a forgery detector is trained on the dataset."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from facemill.options import Probability
from facemill.pipeline.config.sections import Positive, Settings

__all__ = ["AugmentSettings", "ObjectiveSettings", "OptimizerSettings", "ScheduleSettings", "TrainSettings"]

NonNegative = Annotated[float, Field(ge=0, le=1e3)]
Quality = Annotated[int, Field(ge=1, le=100)]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the first bound of a range must not exceed the second")
    return bounds


Ascending = AfterValidator(_ascending)  # of a pair of bounds


class ObjectiveSettings(Settings):
    """What the detector is trained for."""

    name: str = "paper"
    """`paper` for the detector's own objective, `classification` for cross-entropy alone, or another registered one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of an objective that is not the paper's, whose options are the detector's."""


class OptimizerSettings(Settings):
    """The optimiser and its parameters."""

    name: str = "adam"
    """`adam`, `adamw`, `sgd` (without Nesterov momentum), one of `timm.optim` or `torch.optim`, or `module:Class`."""
    lr: Annotated[float, Field(gt=0, le=1e3)] = 1e-3
    """Learning rate."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Betas of Adam and AdamW; the first is also the momentum of SGD. Other optimisers have defaults of their own."""
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Epsilon of Adam and AdamW; other optimisers have defaults of their own."""
    weight_decay: NonNegative = 0.0
    """L2 penalty of Adam and SGD; decoupled decay of AdamW."""
    no_decay: bool = False
    """No weight decay of biases and of the weights of norms."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate from each stage of the backbone to the one before it; 1 for equal rates."""
    options: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the optimiser, such as `{nesterov: true}`."""


class ScheduleSettings(Settings):
    """The learning rate schedule."""

    name: str = "constant"
    """`step` lowers the learning rate every few epochs, `cosine` in each, along half a cosine; `constant`, another of
    `torch.optim.lr_scheduler`, or `module:Class`."""
    every: Positive = 10
    """Epochs between steps."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor by which the learning rate is multiplied at each step."""
    warmup: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Epochs at the beginning in which the learning rate rises linearly; the cosine begins after them."""
    final: Probability = 0.0
    """Share of the learning rate at which the cosine would end after the last epoch."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of a schedule that is none of these three, such as `{milestones: [10, 15]}` of `MultiStepLR`."""


class AugmentSettings(Settings):
    """Random augmentations of the training crops, batched on the device, in this order.

    Each number is the probability of an augmentation unless stated otherwise; ranges are sampled uniformly.
    """

    jpeg: Probability = 0.0
    """JPEG compression."""
    jpeg_quality: Annotated[tuple[Quality, Quality], Ascending] = (60, 100)
    """Range of the JPEG quality."""
    noise: Probability = 0.0
    """Gaussian noise."""
    noise_std: Annotated[tuple[NonNegative, NonNegative], Ascending] = (0.01, 0.03)
    """Range of the noise's standard deviation, for values in 0..1."""
    blur: Probability = 0.0
    """Gaussian blur."""
    blur_sigma: Annotated[tuple[Annotated[float, Field(gt=0)], NonNegative], Ascending] = (0.3, 1.0)
    """Range of the blur's standard deviation, in pixels."""
    flip: Probability = 0.5
    """Horizontal flip; applied to masks too."""
    colour: Probability = 0.0
    """Either brightness and contrast, or hue, saturation and value, or, if `pca` is not 0, principal components."""
    brightness: NonNegative = 0.2
    """Largest amount added, for values in 0..1."""
    contrast: NonNegative = 0.2
    """Largest change of contrast, as a share."""
    hue: NonNegative = 40.0
    """Largest hue rotation, in degrees."""
    saturation: NonNegative = 0.12
    """Largest amount added to the saturation, which is in 0..1."""
    value: NonNegative = 0.08
    """Largest amount added to the value, which is in 0..1."""
    pca: NonNegative = 0.0
    """Standard deviation of the factors with which an image's principal colour components are added (FancyPCA)."""
    gray: Probability = 0.0
    """Conversion to grayscale."""
    affine: Probability = 0.0
    """Shift, scale and rotate about the centre, padding with black; applied to masks too."""
    shift: Probability = 0.1
    """Largest shift, as a share of the side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Largest change of scale, as a share."""
    rotate: NonNegative = 10.0
    """Largest rotation, in degrees."""
    mixup: NonNegative = 0.0
    """Alpha of the Beta distribution from which each batch's mixing ratio is drawn; 0 for no mixup."""
    more: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other transforms by name, or as `module:Class`, with their options."""


class TrainSettings(Settings):
    """How a forgery detector is trained."""

    epochs: Positive = 10
    """Passes over the training split."""
    batch: Positive = 32
    """Crops per step, or clips for a detector of clips, summed over all devices, before accumulation."""
    accumulate: Positive = 1
    """Steps whose gradients are averaged before each weight update."""
    objective: ObjectiveSettings = ObjectiveSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    sharpness: NonNegative = 0.0
    """Radius of sharpness-aware minimisation (SAM), whose steps take twice as long; 0 for none."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of an exponential moving average of the weights, which is then validated and released; 0 for
    none."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`auto` is mixed bf16 on a GPU and float32 elsewhere."""
    balance: Literal["none", "oversample"] = "oversample"
    """`oversample` repeats the rarer class until an epoch has as many reals as fakes."""
    batch_by: str = "none"
    """Crops that are never in different batches: a fake and its original's crop of the same face and frame (`pair`), an
    original's crop and all fakes of it (`group`), or the crops of a video (`video`); or a batching of one's own, as
    `module:Class`."""
    batch_options: dict[str, Any] = Field(default_factory=dict)
    """Options of such a batching."""
    frames: Positive | None = None
    """Crops used per training video, drawn once by seed; null for all."""
    every: Positive = 1
    """Use every n-th of a training video's sampled frames."""
    methods: tuple[str, ...] = ()
    """Forgery methods whose fakes are used, for training and validation; none for all. Reals always stay."""
    without: tuple[str, ...] = ()
    """Forgery methods whose fakes are left out."""
    qualities: tuple[str, ...] = ()
    """Compression levels of the videos used; none for all."""
    forgeries: Literal["none", "sbi", "xray"] = "none"
    """Train on reals and forgeries made of them, half of each batch, and none of the dataset's fakes, with which
    validation stays: `sbi` for self-blended images, `xray` for blends with other subjects, as of Face X-ray. Datasets
    built with `annotate.landmarks68` give the outlines of each face, and others those of an adult's."""
    augment: AugmentSettings = AugmentSettings()
    limit: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the crops of each class used, drawn once by seed, for training and validation: for a first look."""
    overfit: Annotated[int, Field(ge=2, lt=1 << 31)] | None = None
    """Train and validate on this many crops, half of them real, without augmentation: to see whether the loss falls."""
    shuffle_labels: bool = False
    """Control experiment: train on permuted labels, without masks; anything learned then is leakage or chance."""
    model: dict[str, Any] = Field(default_factory=dict)
    """The detector's own options: see `facemill detectors NAME`."""

    @model_validator(mode="after")
    def _forgeries_replace_the_fakes(self) -> "TrainSettings":
        others = ("batch_by", "methods", "without", "overfit", "shuffle_labels")
        chosen = [name for name in others if getattr(self, name) != type(self).model_fields[name].default]
        if self.forgeries != "none" and chosen:
            raise ValueError(
                f"'forgeries: {self.forgeries}' trains on no fake of the dataset, so leave out '{chosen[0]}'"
            )
        return self
