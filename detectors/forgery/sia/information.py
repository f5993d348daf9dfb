"""Self-information of feature maps: how much a value differs from its neighbours (SIA, Eqs. 1 to 3).

A value's probability is estimated by a Gaussian kernel over its neighbours; its self-information is the negative
logarithm. Neighbours are processed one shift at a time, so memory does not grow with their number.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CHANNEL_NEIGHBOURS", "inter_information", "intra_information", "self_information"]

CHANNEL_NEIGHBOURS = 5  # size of R_c in Eq. 2; the paper does not give it: as in the authors' released code


def self_information(features: Tensor, *, inter_weight: float = 0.5, bandwidth: float = 1.0) -> Tensor:
    """Sum of both terms (Eq. 3): `I_intra + inter_weight * I_inter`.

    Args:
        features: [B, C, H, W] with more than five channels, of any floating-point dtype.
        inter_weight: lambda of Eq. 3.
        bandwidth: h of Eqs. 1 and 2, in units of the features.

    Returns:
        float32 [B, C, H, W]; at least `-log 8 - inter_weight * log 5` (all values equal), without upper bound.
    """
    features = features.float()
    intra = intra_information(features, bandwidth)
    return intra.add_(inter_information(features, bandwidth), alpha=inter_weight)


def intra_information(features: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Against the eight spatial neighbours in the same channel (Eq. 1), zero-padded; [B, C, H, W].

    The value itself is not a neighbour: its distance of 0 would keep the information at or below 0.
    """
    height, width = features.shape[-2:]
    padded = F.pad(features, (1, 1, 1, 1))
    shifts = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    return _surprisal(features, [padded[..., i : i + height, j : j + width] for i, j in shifts], bandwidth)


def inter_information(features: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Against the next five channels at the same position (Eq. 2), with wrap-around; [B, C, H, W]."""
    channels = features.shape[1]
    circular = torch.cat((features, features[:, :CHANNEL_NEIGHBOURS]), 1)
    neighbours = [circular[:, shift : shift + channels] for shift in range(1, CHANNEL_NEIGHBOURS + 1)]
    return _surprisal(features, neighbours, bandwidth)


def _surprisal(features: Tensor, neighbours: list[Tensor], bandwidth: float) -> Tensor:
    """`-log sum exp(-d)` over the neighbours, d = (difference)^2 / (2 bandwidth^2).

    The smallest d is factored out of the sum (log-sum-exp), which is then at least 1: its logarithm is always finite.
    """
    scale = 0.5 / bandwidth**2
    with torch.no_grad():  # the smallest d cancels out, so it needs no gradient
        scratch = torch.empty_like(features)
        smallest = torch.full_like(features, torch.inf)
        for neighbour in neighbours:
            torch.minimum(smallest, torch.sub(features, neighbour, out=scratch).abs_(), out=smallest)
        smallest.square_().mul_(scale)
    # Allocating every intermediate costs a third of the time; only autograd needs it, since it keeps them.
    differences, exponents = (None, None) if features.requires_grad else (scratch, torch.empty_like(features))
    total = torch.zeros_like(features)
    for neighbour in neighbours:
        difference = torch.sub(features, neighbour, out=differences)
        total.add_(torch.addcmul(smallest, difference, difference, value=-scale, out=exponents).exp_())
    return smallest - total.log()
