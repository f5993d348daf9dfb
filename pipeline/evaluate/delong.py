"""DeLong's test of the difference of two AUCs of the same samples."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

__all__ = ["auc_covariance", "delong_test"]

Floats = NDArray[np.float64]


def auc_covariance(rankings: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """AUCs and their covariance, by DeLong et al. (Biometrics, 1988) in the form of Sun and Xu (2014), with midranks.

    Samples are taken as independent, so that frames of one video give too small a covariance.

    Args:
        rankings: scores or log-odds of each of K detectors, [K, N].
        labels: 0 real, 1 fake, [N]; at least two of each.

    Returns:
        [K] and [K, K].
    """
    values, fake = np.asarray(rankings, np.float64), np.asarray(labels) == 1
    fakes, reals = int(fake.sum()), int((~fake).sum())
    together = rankdata(values, axis=1)
    # For each fake the share of reals below it, and for each real that of fakes above it.
    above = (together[:, fake] - rankdata(values[:, fake], axis=1)) / reals  # [K, F]
    below = 1 - (together[:, ~fake] - rankdata(values[:, ~fake], axis=1)) / fakes  # [K, R]
    covariance = np.atleast_2d(np.cov(above)) / fakes + np.atleast_2d(np.cov(below)) / reals
    return above.mean(1), covariance


def delong_test(first: ArrayLike, second: ArrayLike, labels: ArrayLike) -> float | None:
    """Two-sided p of equal AUCs of two rankings [N] of the same samples.

    None if it is not defined: with fewer than two samples of a class, or without variance of the difference.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=2)
    if counts.min() < 2:
        return None
    aucs, covariance = auc_covariance([np.asarray(first), np.asarray(second)], labels)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= 1e-15:
        return None
    return float(2 * norm.sf(abs(aucs[1] - aucs[0]) / np.sqrt(variance)))
