"""MAT: Multi-attentional Deepfake Detection (Zhao et al., CVPR 2021), detection as fine-grained classification.

A deep map gives M attention maps; a shallow map minus its local averages gives texture. Each attention map
pools the texture of its region, and their sum pools the last map.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.base import BackboneOptions, ForgeryDetector, ForgeryOutput
from facemill.detectors.forgery.mat.objective import MATObjective
from facemill.detectors.forgery.mat.pooling import bilinear_attention_pool, weighted_mean
from facemill.detectors.forgery.mat.release import ReleasedTexture, fix_padding, released_attention
from facemill.detectors.forgery.mat.texture import TextureEnhancement
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["MAT", "MATOptions", "MATOutput"]

_WIDTH = 256  # of the head's hidden layers


class MATOptions(BackboneOptions):
    """Options of `MAT`: the defaults are the paper's full model."""

    size: Annotated[int, Field(ge=64)] = 380
    backbone: str = "tf_efficientnet_b4.ap_in1k"
    """timm network; the released code starts from AdvProp's EfficientNet-B4, the default, or from
    `legacy_xception.tf_in1k`."""
    num_attentions: Annotated[int, Field(ge=1, le=5)] = 4
    """Number of attention maps, M (Table 5)."""
    texture_tap: Literal["L1", "L2", "L3"] = "L2"
    """Layer whose texture is enhanced, SL_t (Table 1): the last with stride 4 or 8; the released code's is L1."""
    attention_tap: Literal["L4", "L5"] = "L5"
    """Layer that attention is computed from, SL_a (Table 1): the middle or the last with stride 16."""
    loss: Literal["none", "ams", "ril"] = "ril"
    """In addition to cross-entropy: nothing, additive margin softmax, or regional independence loss (Table 6)."""
    ril_form: Literal["paper", "release"] = "paper"
    """Regional independence loss as in Eq. 3, or as in the first form of the authors' released code, in which regions
    repel each other far more."""
    agda: Literal["none", "hard", "soft"] = "soft"
    """Attention-guided augmentation: none, regions erased, or regions blurred (Table 6)."""
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Probability of dropping an attention map in training; from the released code, not in the paper."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout probability of the pooled last map; from the released code, not in the paper."""
    form: Literal["paper", "release"] = "paper"
    """Attention and texture enhancement as in the paper, or as in the authors' released code, for its checkpoints."""

    @model_validator(mode="after")
    def _single_map_has_no_region_loss(self) -> "MATOptions":
        if self.num_attentions == 1 and (self.loss, self.agda) != ("none", "none"):
            raise ValueError("'loss' and 'agda' need several attention maps: with one set loss=none and agda=none")
        return self


@dataclass
class MATOutput(ForgeryOutput):
    """Output of `MAT`.

    Attributes:
        attentions: A, [B, M, h, w], non-negative.
        pooled: D, the shallow map's local averages, [B, C, h, w].
    """

    attentions: Tensor
    pooled: Tensor


class MAT(ForgeryDetector):
    """Multi-attentional network.

    The head's widths, Hardswish and the two dropouts are not in the paper; they are from the authors'
    released code. So is the input's normalisation, by 0.5 (config.py, `normalize`), which is also what the weights of
    both of its backbones were trained with; others get that of their own weights.
    """

    options_type = MATOptions
    objective_type = MATObjective
    options: MATOptions

    def __init__(self, options: MATOptions) -> None:
        super().__init__(options)
        self.backbone = options.create_backbone()
        self._texture_stage = _stage_of(self.backbone, options.texture_tap)
        self._attention_stage = _stage_of(self.backbone, options.attention_tap)
        shallow, deep = (self.backbone.channels[stage] for stage in (self._texture_stage, self._attention_stage))
        heads = options.num_attentions
        self._released = options.form == "release"
        if self._released:
            fix_padding(self.backbone, options.size)
            self.attention = released_attention(deep, heads)
            self.texture: ReleasedTexture | TextureEnhancement = ReleasedTexture(shallow, heads)
        else:
            self.attention = nn.Sequential(nn.Conv2d(deep, heads, 1, bias=False), nn.BatchNorm2d(heads), nn.ReLU())
            self.texture = TextureEnhancement(shallow)
        self.local_projection = nn.Sequential(
            nn.Flatten(),
            nn.Linear(heads * self.texture.out_channels, _WIDTH),
            nn.Hardswish(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.Hardswish(),
        )
        self.global_projection = nn.Sequential(
            nn.Dropout(options.dropout), nn.Linear(self.backbone.channels[-1], _WIDTH), nn.Hardswish()
        )
        self.classifier = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.Hardswish(), nn.Linear(_WIDTH, 2))

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone.stages[-1]

    def forward(self, images: Tensor) -> MATOutput:
        last = len(self.backbone.stages) - 1
        wanted = (self._texture_stage, self._attention_stage, last)
        shallow, deep, features = self.backbone.taps(images, wanted)
        attentions = self.attention(deep)  # [B, M, h, w]
        texture, pooled = self.texture(shallow, attentions)
        ones = attentions.new_ones(*attentions.shape[:2], 1)
        kept = F.dropout(ones, self.options.attention_dropout, self.training)  # [B, M, 1], whole maps
        matrix = bilinear_attention_pool(texture, attentions, corners=self._released) * kept  # P, [B, M, C_F]
        attended = (attentions * kept[..., None]).sum(1, keepdim=True)  # A_sum, [B, 1, h, w]
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            whole = weighted_mean(features, attended, corners=self._released)
            joined = torch.cat([self.local_projection(matrix), self.global_projection(whole)], dim=1)
            real, fake = self.classifier(joined).unbind(1)
        return MATOutput(fake - real, attentions, pooled)

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """The attention maps, "attention 1" to "attention M" (Figures 4 to 6)."""
        (deep,) = self.backbone.taps(images, (self._attention_stage,))
        return {f"attention {k}": maps for k, maps in enumerate(self.attention(deep).unbind(1), start=1)}


def _stage_of(backbone: Backbone, layer: str) -> int:
    """Stage that corresponds to the paper's layer, by stride, so that it exists in every family.

    In an EfficientNet, stage k is layer L_k; in Xception, L2 to L5 are the blocks 1, 2, 7 and 11.
    """
    stage = backbone.last_at({"L1": 2, "L2": 4, "L3": 8, "L4": 16, "L5": 16}[layer])
    return (backbone.strides.index(16) + stage) // 2 if layer == "L4" else stage
