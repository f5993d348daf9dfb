"""SIA: self-information attention between the blocks of a convolutional network.

Sun et al., "An Information Theoretic Approach for Attention-Driven Face Forgery Detection" (ECCV 2022).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from facemill import ConfigError
from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import RGB, BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.sia.attention import Aggregation, SelfInformationAttention
from facemill.detectors.forgery.sia.baselines import GlobalSelfAttention, NonLocal, squeeze_excitation
from facemill.detectors.forgery.sia.release import RELEASED_BOXES, ReleasedAggregation, ReleasedAttention

__all__ = ["SIA", "Position", "SIAOptions", "SIAOutput"]

Position = int | tuple[int, int]
"""After a stage of the backbone, or after a block within a stage, counted from 1: (stage, block)."""

EFFICIENTNET_POSITIONS: tuple[Position, ...] = (2, 3, 5)  # L1, L2 and L4 of the paper, which calls the first stage L0
MOBILENETV2_POSITIONS: tuple[Position, ...] = (2, (4, 1))  # "after the 3th and 7th InvertedResidual block"
XCEPTION_POSITIONS: tuple[Position, ...] = (3,)  # "between 3th block and 4 block"


class SIAOptions(BackboneOptions):
    """Options of `SIA`: the defaults are the paper's full model."""

    size: Side = 299
    """Side of the square input, pixels."""
    backbone: str = "tf_efficientnet_b4.aa_in1k"
    positions: Annotated[tuple[Position, ...], Field(min_length=1)] | None = None
    """Where attention is inserted (Table 7): after these stages of the backbone (0 is the stem), or [stage, block];
    null for the paper's choice for the backbone."""
    attention: Literal["sia", "se", "nonlocal", "se_nonlocal", "gsa", "none"] = "sia"
    """Self-information attention, or one of Table 5's alternatives: squeeze-excitation, non-local, both in sequence,
    global self-attention, none."""
    spatial: bool = True
    """Attend to informative positions (Table 6)."""
    channel: bool = True
    """Attend to informative channels (Table 6)."""
    aggregation: bool = True
    """Pass self-information on to later attention modules (Table 6); no effect with a single one."""
    inter_weight: Annotated[float, Field(ge=0)] = 0.5
    """Lambda of Eq. 3: weight of the self-information among channels relative to that among positions."""
    bandwidth: Annotated[float, Field(gt=0)] = 1.0
    """h of Eqs. 1 and 2, in units of the features; the paper does not give it."""
    information_gradient: bool = False
    """Also propagate gradients through the self-information; the authors' released code does not."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability of the pooled features."""
    form: Literal["paper", "release"] = "paper"
    """Attention as in the paper, or as in the authors' released code, for its checkpoints."""

    @classmethod
    def normalisation(cls, backbone: str) -> tuple[RGB, RGB]:
        """The released code's for EfficientNet-B4, its only network; otherwise that of the backbone's weights.

        The paper states none. The release has `mean: [0.5, 0.5, 0.5]` and `std: [0.5, 0.5, 0.5]` (configs/train.yaml,
        section transform), although its weights, Noisy Student's, were trained with ImageNet's.
        """
        released = backbone.partition(".")[0] in {"efficientnet_b4", "tf_efficientnet_b4"}
        return ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) if released else super().normalisation(backbone)

    @model_validator(mode="after")
    def _switches_fit_the_attention(self) -> Self:
        if self.attention == "sia" and not (self.spatial or self.channel):
            raise ValueError("SIA without 'spatial' and 'channel' attends to nothing: set attention to 'none'")
        if self.attention != "sia" and not (self.spatial and self.channel and self.aggregation):
            raise ValueError("'spatial', 'channel' and 'aggregation' apply only to the attention 'sia'")
        if self.attention == "none" and self.positions is not None:
            raise ValueError("'positions' is where attention is inserted: leave it out with attention 'none'")
        switched = (self.attention, self.spatial, self.channel, self.aggregation) != ("sia", True, True, True)
        if self.form == "release" and (switched or len(_positions(self)) != len(RELEASED_BOXES)):
            raise ValueError(
                f"form 'release' is the whole attention at {len(RELEASED_BOXES)} positions: leave its switches"
            )
        return self


@dataclass
class SIAOutput(ForgeryOutput):
    """Output of `SIA`.

    Attributes:
        informations: self-information at each position, float32 [B, C, h, w]; empty for other attention modules.
    """

    informations: tuple[Tensor, ...] = ()


class SIA(ForgeryDetector):
    """Backbone with self-information attention between its blocks, global average pooling, dropout, linear layer.

    With EfficientNet-B4 it has 17.6M weights, 46,384 of them in attention and aggregation, and takes 2.91G
    multiply-adds at 299x299. The paper's 35M and 6.05G are about twice that, and its 42k does not follow from its text.

    Raises:
        ConfigError: if the backbone does not have a position.
    """

    options_type = SIAOptions
    options: SIAOptions

    def __init__(self, options: SIAOptions) -> None:
        super().__init__(options)
        self.backbone = options.create_backbone()
        self.positions = () if options.attention == "none" else _positions(options)
        self.cuts = _cuts(self.backbone, self.positions)  # how many blocks run before each attention
        channels = [self.backbone.channels[_stage(position)] for position in self.positions]
        aggregated = options.attention == "sia" and options.aggregation
        aggregation: type[nn.Module]
        if options.form == "release":
            self.attentions = nn.ModuleList(ReleasedAttention(box) for box in RELEASED_BOXES)
            aggregation = ReleasedAggregation
        else:
            sides = [-(-options.size // self.backbone.strides[_stage(position)]) for position in self.positions]
            self.attentions = nn.ModuleList(
                _attention(count, side, options) for count, side in zip(channels, sides, strict=True)
            )
            aggregation = Aggregation
        self.aggregations = nn.ModuleList(
            aggregation(channels[:index] if aggregated else [], count) for index, count in enumerate(channels)
        )
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(self.backbone.channels[-1], 1)

    @property
    def cam_layer(self) -> nn.Module:
        return _blocks(self.backbone)[-1]  # blocks are called one by one, stages never

    def forward(self, images: Tensor) -> SIAOutput:
        blocks = _blocks(self.backbone)
        features, done = images, 0
        informations: list[Tensor] = []
        for cut, aggregation, attention in zip(self.cuts, self.aggregations, self.attentions, strict=True):
            features = _run(blocks[done:cut], features)
            if isinstance(attention, SelfInformationAttention | ReleasedAttention):
                features = aggregation(features, informations if self.options.aggregation else [])
                features, information = attention(features)
                informations.append(information)
            else:
                features = attention(features)
            done = cut
        features = _run(blocks[done:], features)
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            pooled = features.float().mean((2, 3))
            return SIAOutput(self.classifier(self.dropout(pooled))[:, 0], tuple(informations))

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """Self-information at each position, averaged over channels: "information 2", "information 4.1"."""
        informations = self(images).informations
        names = [str(p) if isinstance(p, int) else f"{p[0]}.{p[1]}" for p in self.positions[: len(informations)]]
        return {f"information {name}": map_.mean(1) for name, map_ in zip(names, informations, strict=True)}


def _attention(channels: int, side: int, options: SIAOptions) -> nn.Module:
    match options.attention:
        case "se":
            return squeeze_excitation(channels)
        case "nonlocal":
            return NonLocal(channels)
        case "se_nonlocal":
            return nn.Sequential(squeeze_excitation(channels), NonLocal(channels))
        case "gsa":
            return GlobalSelfAttention(channels, side)
    return SelfInformationAttention(
        channels,
        spatial=options.spatial,
        channel=options.channel,
        inter_weight=options.inter_weight,
        bandwidth=options.bandwidth,
        gradient=options.information_gradient,
    )


def _positions(options: SIAOptions) -> tuple[Position, ...]:
    if options.positions is not None:
        return options.positions
    network = options.backbone.partition(".")[0]  # without the tag of its weights
    if network == "legacy_xception":
        return XCEPTION_POSITIONS
    return MOBILENETV2_POSITIONS if network.startswith("mobilenetv2") else EFFICIENTNET_POSITIONS


def _stage(position: Position) -> int:
    return position if isinstance(position, int) else position[0]


def _cuts(backbone: Backbone, positions: tuple[Position, ...]) -> tuple[int, ...]:
    """Number of blocks up to each position.

    Raises:
        ConfigError: if a position does not exist, or is not after the previous one.
    """
    lengths = [len(stage) if isinstance(stage, nn.Sequential) else 1 for stage in backbone.stages]
    cuts = []
    for position in positions:
        stage = _stage(position)
        whole = lengths[stage] if 1 <= stage < len(lengths) else 0
        block = whole if isinstance(position, int) else position[1]
        if not 1 <= block <= whole:
            raise ConfigError(
                f"The backbone has no position {position}: choose among its stages 1 to {len(lengths) - 1}, "
                "or [stage, block] with blocks counted from 1."
            )
        cuts.append(sum(lengths[:stage]) + block)
    if cuts != sorted(set(cuts)):
        raise ConfigError(f"The positions {positions} are not in the backbone's order: give each once, in that order.")
    return tuple(cuts)


def _blocks(backbone: Backbone) -> list[nn.Module]:
    return [block for stage in backbone.stages for block in (stage if isinstance(stage, nn.Sequential) else [stage])]


def _run(blocks: list[nn.Module], features: Tensor) -> Tensor:
    for block in blocks:
        features = block(features)
    return features
