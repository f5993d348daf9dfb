"""Where neighbouring patches of a forgery mask differ: targets of local anomaly learning, on the mask's device.

Unlike the rest of this package it works on batches of tensors and needs torch, so that `masks` itself does
not import it.

Fei et al., Learning Second Order Local Anomaly for General Face Forgery Detection, CVPR 2022.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["NEIGHBOURS", "local_anomaly_targets"]

NEIGHBOURS = {"v1": (1, 0), "v2": (2, 0), "h1": (0, 1), "h2": (0, 2)}
"""The neighbours of Eqs. 7 and 8 as (rows above, columns to the left): vertical and horizontal, nearest and next."""


def local_anomaly_targets(masks: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """First and second order anomalies of masks (Eq. 9).

    The mask is averaged over the patches of a grid. A patch is anomalous of first order (a) where its average
    differs from its neighbour's, and of second order (a') where its a differs from the same neighbour's a.
    Where the neighbour lies outside the picture there is no anomaly.

    Args:
        masks: [B, 1, H, W], forged where above 0.5: interpolated masks have edges, not anomalies, in between.
        grid: rows and columns of patches.

    Returns:
        The first and the second order, each float32 [B, 4, *grid] of 0 and 1, along NEIGHBOURS.
    """
    forged = (masks > 0.5).float()
    averages = F.adaptive_avg_pool2d(forged, grid)  # [B, 1, h, w]; counts are whole numbers, so equality is exact
    first = torch.cat([_differs(averages, *offset) for offset in NEIGHBOURS.values()], dim=1)
    second = torch.cat([_differs(first[:, k : k + 1], *offset) for k, offset in enumerate(NEIGHBOURS.values())], dim=1)
    return first, second


def _differs(values: Tensor, up: int, left: int) -> Tensor:
    """1 where a cell differs from the one `up` rows above and `left` columns to the left, else 0; as [B, 1, h, w]."""
    height, width = values.shape[2:]
    differs = values[:, :, up:, left:] != values[:, :, : height - up, : width - left]
    return F.pad(differs.float(), (left, 0, up, 0))
