"""Second order local anomaly learning: predictors (SOLA, section 3.3) and losses (section 3.4) of anomaly maps.

Maps are log-odds, first order [B, 4, 64, h, w] and second order [B, 4, h, w], the 4 being
`facemill.masks.local_anomaly.NEIGHBOURS`. Losses are summed over these, as in Eqs. 10 and 12, and averaged over
everything else.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.objective import masked_mean
from facemill.masks.local_anomaly import NEIGHBOURS, local_anomaly_targets

__all__ = ["AnomalyPredictor", "LocalAnomalies", "supervised_anomaly_loss", "weak_anomaly_loss"]

_MAPS = 64  # first order maps per neighbour: "we set each to contain 64 kernels"


class AnomalyPredictor(nn.Module):
    """delta of Eq. 7 and phi of Eq. 8: a convolution over each cell and one neighbour, giving log-odds.

    Borders are replicated, so that maps keep their size.

    Args:
        in_channels, maps: channels [B, in_channels, h, w] -> [B, maps, h, w].
        up, left: offset of the neighbour in rows up and columns left; one of them is 0.
    """

    def __init__(self, in_channels: int, maps: int, up: int, left: int) -> None:
        super().__init__()
        self.padding = (left, 0, up, 0)
        self.conv = nn.Conv2d(in_channels, maps, (2, 1) if up else (1, 2), dilation=max(up, left))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(F.pad(x, self.padding, mode="replicate"))
        return logits


class LocalAnomalies(nn.Module):
    """First and second order anomaly maps of features [B, C, h, w], as log-odds (Eqs. 7 and 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        offsets = NEIGHBOURS.values()
        self.first_order = nn.ModuleList(AnomalyPredictor(channels, _MAPS, *offset) for offset in offsets)
        self.second_order = nn.ModuleList(AnomalyPredictor(_MAPS, 1, *offset) for offset in offsets)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the first order [B, 4, 64, h, w] and the second order maps [B, 4, h, w]."""
        first = [predict(features) for predict in self.first_order]
        second = [predict(maps.sigmoid()) for predict, maps in zip(self.second_order, first, strict=True)]
        return torch.stack(first, dim=1), torch.cat(second, dim=1)


def supervised_anomaly_loss(first: Tensor, second: Tensor, masks: Tensor, has_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the maps against the mask's anomalies (Eq. 10, without its weights).

    Args:
        first, second: log-odds of the maps.
        masks: [B, 1, H, W], 1 where forged.
        has_mask: bool [B]; samples without a mask are ignored.

    Returns:
        The first and the second order term; 0 if no sample has a mask.
    """
    first_target, second_target = local_anomaly_targets(masks, (second.shape[2], second.shape[3]))
    first_target = first_target[:, :, None].expand_as(first)  # "repeated 64 times"
    losses = [
        F.binary_cross_entropy_with_logits(maps, target, reduction="none")
        for maps, target in ((first, first_target), (second, second_target))
    ]
    return masked_mean(_per_sample(losses[0]), has_mask), masked_mean(_per_sample(losses[1]), has_mask)


def weak_anomaly_loss(first: Tensor, second: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude of the maps of real images, which have no anomaly; fakes are unconstrained (Eq. 12, without weights).

    Args:
        first, second: log-odds of the maps.
        labels: [B]; 0 is real.

    Returns:
        The first and the second order term; 0 if no sample is real.
    """
    real = labels == 0
    return masked_mean(_per_sample(first.sigmoid()), real), masked_mean(_per_sample(second.sigmoid()), real)


def _per_sample(values: Tensor) -> Tensor:
    """Reduce [B, 4, ...] to [B]: mean over all cells, sum over the four neighbours."""
    return values.flatten(2).mean(2).sum(1)
