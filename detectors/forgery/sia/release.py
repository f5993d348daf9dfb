"""SIA's attention as in the authors' released code, which differs from the paper: for checkpoints trained with it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.sia.attention import Aggregation
from facemill.detectors.forgery.sia.information import CHANNEL_NEIGHBOURS

__all__ = ["RELEASED_BOXES", "ReleasedAggregation", "ReleasedAttention"]

RELEASED_BOXES = (7, 5, 3)
"""Side of the spatial neighbourhood at each position."""
_INTER_WEIGHT = 0.1


class ReleasedAttention(nn.Module):
    """Attention without weights, from sums of differences instead of the paper's Eqs. 1 to 6.

    `I = |sum of x - x_neighbour over a box| + 0.1 |sum of x - x_neighbour over five channels|`, divided by twice its
    mean; the map becomes `x (sigmoid(I) + 1) (mean(I) + 1)`. The release divides by the mean over the batch; here it is
    the image's own, so that no score depends on other images. Its boxes are padded too much for their side and
    cannot be run as published; here they are centred. As in the release, which sums groups of five consecutive maps
    of the concatenated differences, the five differences of channel c are not all its own.

    Args:
        box: side of the spatial neighbourhood, cells.
    """

    def __init__(self, box: int) -> None:
        super().__init__()
        self.box = box

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The attended map [B, C, H, W], and I, float32 [B, C, H, W]."""
        with without_autocast(features), torch.no_grad():
            x = features.float()
            count = self.box**2
            # Outside the map neighbours are 0; the average counts them.
            intra = count * (x - F.avg_pool2d(x, self.box, stride=1, padding=self.box // 2)).abs()
            circular = torch.cat((x, x[:, :CHANNEL_NEIGHBOURS]), 1)
            shifts = range(1, CHANNEL_NEIGHBOURS + 1)
            differences = torch.cat([x - circular[:, shift : shift + x.shape[1]] for shift in shifts], 1)
            batch, channels, height, width = x.shape
            inter = differences.view(batch, channels, CHANNEL_NEIGHBOURS, height, width).sum(2).abs()
            information = intra + _INTER_WEIGHT * inter
            information = information / (2 * information.mean((1, 2, 3), keepdim=True))
            weights = (information.sigmoid() + 1) * (information.mean((2, 3), keepdim=True) + 1)
        return features * weights.to(features.dtype), information


class ReleasedAggregation(Aggregation):
    """As in the paper, but with biases, and resized by adaptive max-pooling."""

    bias = True

    def resize(self, maps: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.adaptive_max_pool2d(maps, size)
