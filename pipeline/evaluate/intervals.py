"""Intervals of metrics by resampling of clip groups: frames of a video, and fakes of one original, are not independent.

Intervals are bias-corrected and accelerated (Efron, 1987), with quantiles widened for few groups (Hesterberg, 2015).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import norm, t

from facemill.pipeline.evaluate.metrics import measurable
from facemill.pipeline.evaluate.weighted import METRICS, Judged, group_names

__all__ = [
    *("CONFIDENCE", "RESAMPLES", "Interval"),
    *("combine", "find_interval", "judge", "mean_interval", "summarise", "weights_of"),
]

CONFIDENCE = 0.95
RESAMPLES = 1000
_BLOCKS = 200
"""Largest number of parts of the groups that are left out in turn."""
_EQUAL = 1e-12

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Interval = list[float]
"""Its two bounds."""


@lru_cache(maxsize=1)  # each metric, method and seed is measured on the same draws
def weights_of(groups: int) -> Integers:
    """Weights of groups for `find_interval`, [1 + B + R, G].

    All groups once; all but each of B blocks; and as many as there are, drawn with replacement, `RESAMPLES` times.
    """
    blocks = min(groups, _BLOCKS)
    block = np.random.default_rng(1).permutation(groups) % blocks
    left_out = (block != np.arange(blocks)[:, None]).astype(np.int64)
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, groups), np.int64), left_out, drawn])
    weights.flags.writeable = False
    return weights


def find_interval(values: Floats) -> Interval | None:
    """The interval of `CONFIDENCE` of a statistic.

    Args:
        values: the statistic under each row of `weights_of`; draws that are not a number are left out.

    Returns:
        None for fewer than two groups, if the statistic is undefined, or if all draws are equal: their lack of spread
        then only says that the data have no error, not that others would have none.
    """
    blocks = len(values) - 1 - RESAMPLES
    value, without, draws = values[0], values[1 : 1 + blocks], values[1 + blocks :]
    draws, without = draws[np.isfinite(draws)], without[np.isfinite(without)]
    if blocks < 2 or not np.isfinite(value) or len(draws) < RESAMPLES / 2 or np.ptp(draws) < _EQUAL:
        return None
    below = np.mean(draws < value - _EQUAL) + np.mean(np.abs(draws - value) <= _EQUAL) / 2
    bias = norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    errors = without.mean() - without
    scale = 6 * float((errors**2).sum()) ** 1.5
    skew = float((errors**3).sum()) / scale if scale else 0.0
    # Draws of G groups deviate too little, by sqrt((G - 1) / G), and normally distributed only for many groups.
    tail = np.sqrt(blocks / (blocks - 1)) * t.ppf((1 - CONFIDENCE) / 2, blocks - 1)
    shares = [norm.cdf(bias + (bias + z) / (1 - skew * (bias + z))) for z in (tail, -tail)]
    return [float(bound) for bound in np.quantile(draws, shares)]


def mean_interval(values: Floats, groups: NDArray[np.str_]) -> Interval | None:
    """The interval of a mean over samples [N], by names of their groups [N]; values that are no number are left out."""
    known = np.isfinite(values)
    names, places = np.unique(groups[known], return_inverse=True)
    if len(names) < 2:
        return None
    weights = weights_of(len(names))
    sums, counts = (weights @ np.bincount(places, one) for one in (values[known], None))
    return find_interval(sums / counts)


def combine(values: Floats) -> tuple[float, float | None, Interval | None]:
    """Combine a statistic over the seeds of a training.

    Args:
        values: the statistic under each row of `weights_of`, for each seed, [S, 1 + B + R].

    Returns:
        its mean over seeds, its standard deviation over them (None for one seed), and the interval of the mean, whose
        width is that of the choice of groups and, with several seeds, of the mean over seeds, by Student's factor.
    """
    seeds, mean = values[:, 0], float(values[:, 0].mean())
    interval = find_interval(values.mean(0))
    if len(values) == 1:
        return mean, None, interval
    spread = float(seeds.std(ddof=1))
    if interval is not None:
        half = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * spread / np.sqrt(len(values))
        interval = [mean - float(np.hypot(mean - interval[0], half)), mean + float(np.hypot(interval[1] - mean, half))]
    return mean, spread, interval


def summarise(measured: Sequence[Mapping[str, Floats]], reals: int = 0) -> dict[str, Any]:
    """Combine metrics over seeds, as JSON values: each, `intervals` and, with several seeds, `spread` by metric.

    Args:
        measured: each metric under each row of `weights_of`, for each seed.
        reals: how many there are, of which rates need some.
    """
    found: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    for name in measured[0]:
        mean, deviation, interval = combine(np.array([one[name] for one in measured]))
        found[name] = measurable(name, mean, reals)
        intervals[name], spread[name] = (None, None) if found[name] is None else (interval, deviation)
    return {**found, "intervals": intervals, **({"spread": spread} if len(measured) > 1 else {})}


def judge(
    tables: Sequence[pa.Table], threshold: Sequence[float | None] | None = None, metrics: Iterable[str] = METRICS
) -> dict[str, Any]:
    """Compute metrics of frames or videos, with intervals, as JSON values; an undefined one is None.

    Args:
        tables: scores of the same samples, one table for each seed of a training; usually one.
        threshold: log-odds chosen on validation, one for each table.

    Returns:
        `reals`, `fakes`, `groups` (how many), and what `summarise` gives. Intervals cover the choice of clip groups,
        and with several seeds that of a training's seed.
    """
    wanted, names = tuple(metrics), group_names(tables[0])
    fakes = int(tables[0]["label"].to_numpy().sum())
    reals = len(tables[0]) - fakes
    measured: list[dict[str, Floats]] = [dict.fromkeys(wanted, np.full(1 + RESAMPLES, np.nan))] * len(tables)
    if len(names):
        limits = threshold or [None] * len(tables)
        judged = (Judged.of(table, names, threshold=limit) for table, limit in zip(tables, limits, strict=True))
        measured = [one.measure(weights_of(len(names)), wanted) for one in judged]
    return {"reals": reals, "fakes": fakes, "groups": len(names), **summarise(measured, reals)}
