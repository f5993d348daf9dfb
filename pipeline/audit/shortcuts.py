"""How well columns of a dataset predict the label without the pixels of the face.

A small classifier (logistic regression on quantile bins) is fitted to each column alone and to all together, and scores
the crops of clip groups that it was not fitted to. The interval of its AUC resamples clip groups; it covers the choice
of the scored groups, not that of those that the classifier was fitted to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from facemill.pipeline.evaluate.intervals import CONFIDENCE, Interval, find_interval, weights_of
from facemill.pipeline.evaluate.weighted import Judged

__all__ = ["ALL_METHODS", "LEAST_GROUPS", "LIMIT", "TOGETHER", "Shortcut", "find_shortcuts"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ALL_METHODS, TOGETHER = "all", "all together"
LIMIT = 0.6
"""AUC that the lower bound of a column's interval must exceed to be a finding."""
LEAST_GROUPS = 5
"""Groups with reals, and groups with fakes, below which nothing is measured."""
MOST_GROUPS = 5000
"""Groups that are used of a larger dataset, chosen by a fixed seed."""
FOLDS, BINS = 5, 8


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well a column, or all together, predicts fakes.

    Attributes:
        method: whose fakes, or `ALL_METHODS`.
        auc: of crops whose groups the classifier was not fitted to.
        interval: of `CONFIDENCE`; None if it is not known.
    """

    column: str
    method: str
    auc: float
    interval: Interval | None

    @property
    def found(self) -> bool:
        return self.interval is not None and self.interval[0] > LIMIT


def find_shortcuts(
    columns: Mapping[str, NDArray[Any]], labels: Integers, methods: NDArray[Any], groups: NDArray[Any]
) -> list[Shortcut]:
    """Measure each column, and all together, against the fakes of all methods; and list those that tell one method.

    Args:
        columns: numbers, NaN where unknown, or words, [N] each. Columns of one value are left out.
        labels: 0 real, 1 fake, [N].
        methods: of each sample, [N].
        groups: name of each sample's clip group, [N].

    Returns:
        all methods first, highest AUC first; then the findings of single methods that no column of all methods has.
        Empty with fewer than `LEAST_GROUPS` groups with reals or with fakes.
    """
    names, place = np.unique(groups, return_inverse=True)
    kept = np.random.default_rng(0).permutation(len(names))[:MOST_GROUPS]
    rows = np.isin(place, kept)
    columns = {name: values[rows] for name, values in columns.items() if len(set(values[rows].tolist())) > 1}
    labels, methods, place = labels[rows], methods[rows], np.unique(place[rows], return_inverse=True)[1]
    found = sorted(_measure(columns, labels, place, ALL_METHODS), key=lambda one: -one.auc)
    known = {one.column for one in found if one.found}
    fakes = np.unique(methods[labels == 1])
    for method in fakes if len(fakes) > 1 else ():
        some = (labels == 0) | (methods == method)
        part = {name: values[some] for name, values in columns.items()}
        of_method = _measure(part, labels[some], np.unique(place[some], return_inverse=True)[1], str(method))
        found += [one for one in of_method if one.found and one.column not in known]
    return found


def _measure(
    columns: Mapping[str, NDArray[Any]], labels: Integers, groups: Integers, method: str
) -> Iterator[Shortcut]:
    kinds = np.unique(np.stack([groups, labels]), axis=1)  # of each group, the labels in it
    if min(np.bincount(kinds[1], minlength=2)) < LEAST_GROUPS:
        return
    folds = _folds(groups, labels)
    sets = {name: [name] for name in columns} | ({TOGETHER: [*columns]} if len(columns) > 1 else {})
    count = int(groups.max()) + 1
    for name, chosen in sets.items():
        logits = _out_of_fold([columns[one] for one in chosen], labels, groups, folds)
        judged = Judged(expit(logits), labels, logits, groups, count)
        (auc,) = judged.measure(np.ones((1, count), np.int64), ("auc",))["auc"]
        if method == ALL_METHODS or auc > LIMIT:
            yield Shortcut(name, method, float(auc), _interval(judged, float(auc), count))


def _interval(judged: Judged, auc: float, groups: int) -> Interval | None:
    """The interval of an AUC.

    If every resample is perfect, the lower bound is that of a share of groups, all of which agree (Clopper & Pearson).
    """
    interval = find_interval(judged.measure(weights_of(groups), ("auc",))["auc"])
    return [((1 - CONFIDENCE) / 2) ** (1 / groups), 1.0] if interval is None and auc == 1 else interval


def _folds(groups: Integers, labels: Integers) -> Integers:
    """Number of each sample's fold: groups are dealt out at random, those with equal labels evenly."""
    kinds = np.stack([np.bincount(groups, labels == label) > 0 for label in (0, 1)])  # [2, G]
    order = np.random.default_rng(0).permutation(kinds.shape[1])
    order = order[np.lexsort(kinds[:, order])]
    fold = np.empty(len(order), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return np.asarray(fold[groups])


def _out_of_fold(columns: Sequence[NDArray[Any]], labels: Integers, groups: Integers, folds: Integers) -> Floats:
    """Log-odds of each sample by a classifier fitted to the other folds, [N]."""
    logits = np.zeros(len(labels))
    for fold in range(FOLDS):
        held = folds == fold
        features = np.column_stack([np.ones(len(labels)), *(_features(values, ~held) for values in columns)])
        weights = _fit(features[~held], labels[~held], len(np.unique(groups[~held])))
        logits[held] = features[held] @ weights
    return logits


def _features(values: NDArray[Any], fitted: NDArray[np.bool_]) -> Floats:
    """A column as numbers: words one-hot; else in standard deviations, and one-hot bins of its quantiles, [N, F]."""
    if values.dtype.kind not in "fiu":
        return np.asarray(values[:, None] == np.unique(values), np.float64)
    values = values.astype(np.float64)
    known = values[fitted & np.isfinite(values)]
    if not len(known):
        return np.zeros((len(values), 1))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1)
    scaled = np.nan_to_num((values - known.mean()) / max(known.std(), 1e-9), posinf=0, neginf=0).clip(-4, 4)
    return np.column_stack([scaled, bins[:, None] == np.arange(len(edges) + 2)])


def _fit(features: Floats, labels: Integers, groups: int) -> Floats:
    """Logistic regression: both classes weigh the same; the prior is a standard normal for `groups` observations."""
    sign = 2.0 * labels - 1
    share = 0.5 / np.maximum(np.bincount(labels, minlength=2), 1)[labels]

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = sign * (features @ weights)
        gradient = -(share * sign * expit(-margins)) @ features + weights / groups
        return float(share @ np.logaddexp(0, -margins) + weights @ weights / 2 / groups), gradient

    return np.asarray(minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x)
