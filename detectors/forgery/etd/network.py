"""Exposing the Deception: Uncovering More Forgery Clues for Deepfake Detection (Ba et al., AAAI 2024)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from facemill.detectors.forgery.base import BackboneOptions, ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.etd.objective import ETDObjective
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["ETD", "ETDOptions", "ETDOutput", "LocalBlocks"]

FUSION_WIDTHS = (1000, 500)  # of the fusion layer; these and the dropout as in the authors' released code
DROPOUT = 0.5


class ETDOptions(BackboneOptions):
    """Options of `ETD`: Table 4 varies `lil` and `gil`, Table 5 `backbone`, Figure 5 and Table 7 `n`."""

    size: Side = 224
    backbone: str = "resnet34.tv_in1k"
    """timm network of the local information blocks; the others in Table 5 are `tf_efficientnet_b0.aa_in1k` and
    `mobilenetv1_100.ra4_e3600_r224_in1k`."""
    n: Annotated[int, Field(ge=2)] = 4
    """Number of local information blocks: independent networks, each with a local feature z_i."""
    lil: bool = True
    """Use the local information loss (Eq. 8), which keeps local features from being redundant."""
    gil: bool = True
    """Use the global information loss (Eq. 12), which keeps in the global feature what separates real from fake."""
    local_heads: bool = False
    """Also train a classifier on each local feature, and show its evidence in `explain`."""
    width: Annotated[int, Field(gt=0)] | None = None
    """Channels of a ResNet's first layer, doubled in each further layer; null for the network's own."""

    @model_validator(mode="after")
    def _weights_fit(self) -> "ETDOptions":
        if self.width is not None and self.pretrained and self.weights is None:
            raise ValueError("pretrained weights have the network's own width: leave width out or set pretrained=false")
        return self


@dataclass
class ETDOutput(ForgeryOutput):
    """Output of `ETD`: float32 logits of (real, fake) from several parts of the features.

    Attributes:
        fused: P_G, from the global feature, [B, 2]; `logit` is its log-odds.
        joint: P_Z, from all local features, [B, 2].
        without: P_{Z without z_i}, from all local features except the i-th, [B, n, 2].
        local: from the i-th local feature alone, [B, n, 2]; None without local heads.
    """

    fused: Tensor
    joint: Tensor
    without: Tensor
    local: Tensor | None


class LocalBlocks(nn.ModuleList):
    """The local information blocks f_i: images [B, 3, H, W] to their last maps, concatenated, [B, n * C, h, w].

    They run one after another. Batched into one network (`torch.vmap`, or convolutions in n groups) they took 1.3
    to 2.4 times as long on a CPU, since grouped convolutions are slower, and all weights would have to be stacked.
    """

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([block(images) for block in self], 1)


class ETD(ForgeryDetector):
    """n networks extract different clues from one face; their features are fused, and the fused one is classified.

    z_i is the mean of block i's last map and Z their concatenation. Heads predict the label from the global
    feature G = fusion(Z) (the score), from Z, and from Z without each z_i. What the paper does not specify follows the
    authors' released code: the widths of the fusion, the last of which is z_i's, the dropout, and the score from P_G.
    So is the normalisation by ImageNet's mean (dataset.py, `normalize`), with which ResNet-34 and EfficientNet-B0 were
    trained; MobileNet-V1, which the release does not initialise with weights, gets that of timm's weights.
    Three things differ, where that code contradicts the paper or itself: divergences are KL(P_Z || .), not the
    reverse; they are summed over the two classes, not averaged; and every head is trained by cross-entropy regardless
    of the information losses, since P_Z would otherwise be an untrained teacher.
    """

    options_type = ETDOptions
    objective_type = ETDObjective
    options: ETDOptions

    def __init__(self, options: ETDOptions) -> None:
        super().__init__(options)
        blocks = [options.create_backbone(width=options.width) for _ in range(options.n)]
        self.blocks = LocalBlocks(blocks)
        local_width = blocks[0].channels[-1]
        joint_width = options.n * local_width
        self.fusion = _fusion(joint_width, local_width)
        self.fused_head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(local_width, 2))
        self.joint_head = nn.Linear(joint_width, 2)
        self.without_heads = nn.ModuleList(nn.Linear(joint_width - local_width, 2) for _ in blocks)
        self.local_heads = nn.ModuleList(nn.Linear(local_width, 2) for _ in blocks if options.local_heads)

    @property
    def cam_layer(self) -> nn.Module:
        return self.blocks

    def forward(self, images: Tensor) -> ETDOutput:
        maps = self.blocks(images)  # [B, n * C, h, w]
        with without_autocast(images):  # heads differ by less than bf16 resolves
            features = maps.float().mean((2, 3))  # Z, [B, n * C]
            z = features.chunk(self.options.n, 1)
            fused = self.fused_head(self.fusion(features))
            without = [head(torch.cat(z[:i] + z[i + 1 :], 1)) for i, head in enumerate(self.without_heads)]
            local = [head(z[i]) for i, head in enumerate(self.local_heads)]
            return ETDOutput(
                logit=fused[:, 1] - fused[:, 0],
                fused=fused,
                joint=self.joint_head(features),
                without=torch.stack(without, 1),
                local=torch.stack(local, 1) if local else None,
            )

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        """Evidence for fake (below 0: for real) in each cell of each local feature, `local 1` to `local n`.

        A feature is a map's mean and its head is linear, so this is Grad-CAM of that head, as in Figures 4 and 7,
        before negative values are cut off. The head is the feature's own, or otherwise its part of P_Z's head: the
        means of the n maps then add up to P_Z's log-odds minus the bias.
        """
        n = self.options.n
        own = [head.get_parameter("weight") for head in self.local_heads]
        heads = own or self.joint_head.weight.chunk(n, 1)  # n times [2, C]
        maps = self.blocks(images).chunk(n, 1)  # n times [B, C, h, w]
        with without_autocast(images):
            return {
                f"local {i}": torch.einsum("bchw,c->bhw", z_map.float(), head[1] - head[0])
                for i, (z_map, head) in enumerate(zip(maps, heads, strict=True), 1)
            }


def _fusion(joint_width: int, fused_width: int) -> nn.Sequential:
    """Build the fusion layer f_g: local features Z [B, joint_width] to the global feature G [B, fused_width]."""
    layers: list[nn.Module] = []
    for before, after in pairwise((joint_width, *FUSION_WIDTHS)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(inplace=True), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers, nn.Linear(FUSION_WIDTHS[-1], fused_width))
