"""Block-wise matching costs of the frames of two videos, and the alignment path of least cost."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "band_costs", "best_path", "fit_levels", "split_blocks"]

BLOCK_SIDE = 12  # pixels of a thumbnail
FLOOR = 1.0
"""Insignificant squared difference, in squared gray levels: it is added to every block's squared difference."""
CHUNK = 64  # fake frames compared at once
JUMP = 0.6
"""Penalty of a jump in time: the mean log difference of one frame that does not fit at all."""
TRUST = 0.002
"""Penalty per frame that deviates from the time stamps."""
ABSENT = 0.15
"""Penalty for matching no frame of the original, added to the cost of the best match."""
TICK = 0.05
"""Penalty of a step by one frame if the frame rates differ, so that such steps are expected."""

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Thumbnails divided into blocks.

    Attributes:
        pixels: [B, N, P], gray levels relative to a common level.
        present: [N], whether the frame exists.
    """

    pixels: Array
    present: NDArray[np.bool_]

    @cached_property
    def energy(self) -> Array:
        """Sum of squares of each block [B, N]."""
        return np.asarray(np.einsum("bnp,bnp->bn", self.pixels, self.pixels), np.float32)

    @cached_property
    def mean(self) -> Array:
        """The mean image [B * P] of the frames that exist."""
        present = slice(None) if self.present.all() else self.present
        return np.asarray(self.pixels[:, present].mean(axis=1).ravel(), np.float32)


def split_blocks(frames: NDArray[np.uint8], present: NDArray[np.bool_]) -> Blocks:
    """Divide frames [N, h, w] into blocks of 12 x 12; the remainder at the edges is cropped."""
    height, width = frames.shape[1:]
    side = min(BLOCK_SIDE, height, width)
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    inner = frames[:, top : top + rows * side, left : left + columns * side]
    tiles = inner.reshape(len(frames), rows, side, columns, side).transpose(1, 3, 0, 2, 4)
    pixels = tiles.astype(np.float32, order="C").reshape(rows * columns, len(frames), side * side)
    pixels -= 128
    return Blocks(pixels, present)


def fit_levels(real: NDArray[np.floating], fake: NDArray[np.floating]) -> tuple[float, float]:
    """Fit gain and level so that `gain * fake + level` matches `real` outside the forged region.

    Args:
        real, fake: corresponding pixels [P]; the 40 % that fit worst are ignored.

    Returns:
        Gain and level, within plausible limits; 1 and 0 for a fake without contrast.
    """
    gain, level = 1.0, 0.0
    for _ in range(6):
        misfit = np.abs(gain * fake + level - real)
        kept = misfit <= np.quantile(misfit, 0.6)
        spread = float(fake[kept].std())
        if spread < 1:
            break
        covariance = float(((fake[kept] - fake[kept].mean()) * (real[kept] - real[kept].mean())).mean())
        gain = float(np.clip(covariance / spread**2, 0.75, 1.33))
        level = float(np.clip(real[kept].mean() - gain * fake[kept].mean(), -60, 60))
    return gain, level


def band_costs(real: Blocks, fake: Blocks, predicted: NDArray[np.int64], reach: int, weight: float) -> Array:
    """Cost [K, 2 * reach + 1] of matching each fake frame to the real frame `predicted + offset`.

    It is the logarithm of a block's mean squared difference, averaged over the blocks: a forged block, which fits
    nowhere, has as little influence as a static block, which fits everywhere. Real frames that are missing or outside
    the video cost a little more than the best of the others.

    Args:
        real, fake: blocks of N and K frames.
        predicted: expected real frame [K] of each fake frame, ascending; may lie outside 0..N-1.
        reach: greatest offset, frames.
        weight: number of fake frames that each compared frame represents; costs are multiplied by it, so that the
            relative penalty of a jump does not depend on how many frames are compared.
    """
    count = len(real.present)
    costs = np.full((len(predicted), 2 * reach + 1), np.nan, np.float32)
    offsets = np.arange(-reach, reach + 1)
    breaks = np.flatnonzero(np.diff(predicted) > CHUNK) + 1
    # Chunk size such that the predictions of a chunk span about 2 * reach real frames.
    spacing = max(1.0, float(predicted[-1] - predicted[0]) / len(predicted))
    chunk = int(np.clip(2 * reach / spacing, 4, CHUNK))
    starts = np.union1d(np.arange(0, len(predicted), chunk), breaks)
    for start, end in zip(starts, [*starts[1:], len(predicted)], strict=True):
        rows = predicted[start:end]
        first, last = np.clip([rows.min() - reach, rows.max() + reach + 1], 0, count)
        if first == last:
            continue
        squares = fake.pixels[:, start:end] @ real.pixels[:, first:last].transpose(0, 2, 1)  # [B, k, n]
        squares *= -2
        squares += fake.energy[:, start:end, None]
        squares += real.energy[:, None, first:last]
        np.maximum(squares, 0, out=squares)
        squares /= real.pixels.shape[2]
        squares += np.float32(FLOOR)
        fits = np.log(squares, out=squares).mean(axis=0) * np.float32(weight)  # [k, n]
        wanted = rows[:, None] + offsets
        inside = (wanted >= first) & (wanted < last)
        inside &= real.present[np.clip(wanted, 0, count - 1)]
        chosen = np.take_along_axis(fits, np.clip(wanted - first, 0, last - first - 1), axis=1)
        costs[start:end] = np.where(inside, chosen, np.nan)
    missing = np.isnan(costs)
    least = np.where(missing, np.inf, costs).min(axis=1)
    least[~np.isfinite(least)] = 0
    return np.asarray(np.where(missing, least[:, None] + np.float32(ABSENT), costs), np.float32)


def best_path(costs: Array, *, clocks_differ: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The path (one column per row) with the least sum of costs and penalties for changing the column.

    Returns:
        Column of each row [K]; extra cost of the best path through every other column [K, C], infinite for the
        path's own column.
    """
    rows, columns = costs.shape
    # If frames look alike, prefer the time stamps: strong compression makes slow motion lag by a frame or two.
    priced = costs + np.minimum(TRUST / 5 * np.abs(np.arange(columns) - columns // 2), TRUST)
    step = TICK if clocks_differ else JUMP
    totals = _totals(np.stack([priced, priced[::-1]], axis=1), step)
    before, after = totals[:, 0], totals[::-1, 1]
    path = np.empty(rows, np.int64)
    path[-1] = before[-1].argmin()
    for row in range(rows - 1, 0, -1):
        price = np.full(columns, JUMP)
        price[max(path[row] - 1, 0) : path[row] + 2] = step
        price[path[row]] = 0
        path[row - 1] = (before[row - 1] + price).argmin()
    through = before + after - priced
    extra_cost = through - through.min(axis=1, keepdims=True)
    extra_cost[np.arange(rows), path] = np.inf
    return path, extra_cost


def _totals(costs: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Cost [K, 2, C] of the best path from the first row to each column of each row, in both directions."""
    totals = np.empty_like(costs)
    totals[0] = costs[0]
    for last, here, cost in zip(totals[:-1], totals[1:], costs[1:], strict=True):
        np.minimum(last, last.min(axis=1, keepdims=True) + JUMP, out=here)
        near = last + step
        np.minimum(here[:, 1:], near[:, :-1], out=here[:, 1:])
        np.minimum(here[:, :-1], near[:, 1:], out=here[:, :-1])
        here += cost
    return totals
