"""Resampling of clip groups: its speed, and how often intervals cover the true value, beside resampling of videos."""

import time

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from benchmarks.row import Row
from facemill.pipeline.evaluate.intervals import RESAMPLES, find_interval, weights_of
from facemill.pipeline.evaluate.weighted import METRICS, Judged

__all__ = ["FAKES", "covered", "measure", "simulate"]

FAKES = 4
"""Fakes of each original, whose log-odds have a part in common."""
TABLES = 2000


def simulate(
    random: np.random.Generator, originals: int, auc: float, shared: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds, labels and groups of originals' videos and their fakes, with a known AUC.

    Args:
        shared: share of a fake's variance that it has in common with the other fakes of its original.
    """
    common = random.normal(0, shared**0.5, (originals, 1))
    fakes = 2**0.5 * norm.ppf(auc) + common + random.normal(0, (1 - shared) ** 0.5, (originals, FAKES))
    logits = np.concatenate([random.normal(size=originals), fakes.ravel()])
    groups = np.concatenate([np.arange(originals), np.repeat(np.arange(originals), FAKES)])
    return logits, np.repeat([0, 1], [originals, FAKES * originals]), groups


def covered(tables: int, originals: int, auc: float, shared: float = 0.6) -> tuple[float, float]:
    """How often the interval of AUC covers the true one, by resampling of groups and by resampling of videos."""
    random = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(tables):
        logits, labels, groups = simulate(random, originals, auc, shared)
        for place, units in enumerate((groups, np.arange(len(logits)))):
            count = int(units.max()) + 1
            judged = Judged(expit(logits), labels, logits, units, count)
            interval = find_interval(judged.measure(weights_of(count), ["auc"])["auc"])
            hits[place] += interval is not None and interval[0] <= auc <= interval[1]
    by_group, by_video = hits / tables
    return float(by_group), float(by_video)


def measure() -> list[Row]:
    """Speed beside scikit-learn's AUC of resampled copies, and coverage of 2,000 simulated tables."""
    random = np.random.default_rng(0)
    logits, labels, groups = (np.repeat(values, 32) for values in simulate(random, 140, 0.9, 0.5))
    logits = logits + random.normal(size=len(logits))
    start = time.perf_counter()
    weights = weights_of(140)
    Judged(expit(logits), labels, logits, groups, 140).measure(weights)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for row in weights[-20:]:
        chosen = np.repeat(np.arange(len(logits)), row[groups])
        roc_auc_score(labels[chosen], logits[chosen])
    usual = (time.perf_counter() - start) / 20 * len(weights)
    details = f"{RESAMPLES} draws, {len(logits):,} frames: {len(METRICS)} metrics {ours:.1f} s, AUC {usual:.1f} s"
    rows = [Row("intervals", "all metrics, against scikit-learn's AUC of copied rows", usual / ours, ">= 1", details)]
    for originals, auc in ((40, 0.8), (60, 0.95), (100, 0.7)):
        by_group, by_video = covered(TABLES, originals, auc)
        what = f"coverage of {TABLES} tables, {originals} originals, AUC {auc}"
        rows.append(Row("intervals", what, by_group, ">= 0.93", f"by videos {by_video:.4f}"))
    return rows
