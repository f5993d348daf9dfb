"""Maps of fakes against those of reals, place by place."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

__all__ = ["above_reals", "in_cells"]

_SIDE = 16
"""Cells on each side of a crop."""

Floats = NDArray[np.float64]


def in_cells(values: NDArray[Any]) -> Floats:
    """Means of a map or mask [H, W] over each of its cells, [C]."""
    means: Floats = adaptive_avg_pool2d(torch.from_numpy(values.astype(np.float64))[None], _SIDE).numpy().ravel()
    return means


def above_reals(values: Floats, forged: NDArray[np.bool_], real: NDArray[np.bool_]) -> Floats:
    """How far the maps of fakes stand out where they are forged, against the same places of reals.

    Pixel AUC within a crop rewards a map that only knows where faces are. Here each forged cell of a fake is compared
    with the same cell of all reals: what does not tell fakes from reals there is at 0.5, whatever its shape.

    Args:
        values: one map of N crops, means of C cells, [N, C].
        forged: cells that the mask covers by half or more, [N, C].
        real: [N].

    Returns:
        the mean over a fake's forged cells of the share of reals with a lower value, ties counting half, [N]; not a
        number for reals, for fakes without such a cell, and without reals.
    """
    found = np.full(len(values), np.nan)
    if not real.any():
        return found
    shares = np.zeros_like(values)
    for cell, column in enumerate(values.T):
        known = np.sort(column[real])
        below, up_to = np.searchsorted(known, column, "left"), np.searchsorted(known, column, "right")
        shares[:, cell] = (below + up_to) / (2 * len(known))
    judged = ~real & forged.any(1)
    found[judged] = (shares * forged).sum(1)[judged] / forged.sum(1)[judged]
    return found
