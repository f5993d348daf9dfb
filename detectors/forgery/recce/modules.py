"""What RECCE makes of the decoder's maps and of its error (Cao et al., CVPR 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GraphReasoning", "GuidedAttention"]

_WIDTH = 256  # of a vertex's embedding


class GraphReasoning(nn.Module):
    """Multi-scale graph reasoning: each cell of an encoder's map gathers the decoder's cells of its place.

    Cell a is joined to the r x r cells b_k of each of the decoder's maps. After embeddings, it gathers
    `sum_k softmax_k(relu(w [a; b_k])) b_k`, times 1 - sigmoid of a linear function of a; what it gathers from all maps,
    and its own embedding, are projected.

    Args:
        channels: of the encoder's map.
        widths: of the decoder's maps, whose sides are 2, 4, ... times those of the encoder's.
        dropout: probability of the result.
    """

    def __init__(self, channels: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.embed = _embedding(channels)
        self.embed_others = nn.ModuleList(map(_embedding, widths))
        self.gates = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1, bias=False) for _ in widths)
        # w [a; b] is the sum of a function of a and one of b.
        self.scores = nn.ModuleList(nn.Conv2d(_WIDTH, 1, 1, bias=False) for _ in widths)
        self.scores_others = nn.ModuleList(nn.Conv2d(_WIDTH, 1, 1, bias=False) for _ in widths)
        self.project = nn.Sequential(
            nn.Conv2d(_WIDTH * (1 + len(widths)), channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Map features [B, C, h, w] and the decoder's maps [B, C_i, r_i h, r_i w] to what is added, [B, C, h, w]."""
        own = self.embed(features)
        size = own.shape[-2:]
        gathered = []
        for index, values in enumerate(maps):
            others = self.embed_others[index](values)
            scores = self.scores[index](own)[..., None] + _neighbours(self.scores_others[index](others), size)
            shares = torch.softmax(F.relu(scores), -1)  # [B, 1, h, w, r^2]
            sums = (shares * _neighbours(others, size)).sum(-1)  # [B, 256, h, w]
            gathered.append(sums * torch.sigmoid(-self.gates[index](features)))
        projected: Tensor = self.project(torch.sigmoid(torch.cat((*gathered, own), 1)))
        return projected


class GuidedAttention(nn.Module):
    """Reconstruction-guided attention: features are transformed where the reconstruction differs from the image.

    `A * h(f) + dropout(f)`, A being a sigmoid of two convolutions of the difference, which is resized to the map.

    Args:
        channels: of the map.
        dropout: probability.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(3, 1, 1, bias=False),
            nn.Sigmoid(),
        )
        self.transform = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, difference: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to features [B, C, h, w] by absolute differences [B, 3, H, W]; returns them, and A [B, 1, h, w]."""
        resized = F.interpolate(difference, features.shape[-2:], mode="bilinear", align_corners=True)
        attention = self.gate(resized)
        return attention * self.transform(features) + self.dropout(features), attention


def _embedding(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, _WIDTH, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(_WIDTH, _WIDTH, 1, bias=False)
    )


def _neighbours(values: Tensor, size: Sequence[int]) -> Tensor:
    """Cells of a map [B, C, r h, r w] at the place of each of h x w cells: [B, C, h, w, r^2], in rows."""
    height, width = size
    batch, channels = values.shape[:2]
    blocks = values.reshape(batch, channels, height, values.shape[2] // height, width, values.shape[3] // width)
    return blocks.transpose(3, 4).flatten(4)
