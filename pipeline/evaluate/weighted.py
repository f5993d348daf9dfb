"""Metrics of scored samples under many sets of weights at once, for resampling: one row of weights, one value."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

__all__ = ["CELLS", "METRICS", "ONCE", "PARTIAL_FPR", "RATES", "Judged", "group_names", "reliability"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RATES = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_01": 0.001}
"""False positive rates at which the true positive rate is given."""
PARTIAL_FPR = 0.1
"""False positive rate up to which the partial AUC goes."""
ECE_BINS = 15
METRICS = (
    *("acc", "balanced_acc", "acc_val", "balanced_acc_val", "auc", "partial_auc", "eer", "ap", *RATES),
    *("log_loss", "brier", "ece"),
)
_RANKING = {"auc", "partial_auc", "eer", "ap", *RATES}
CELLS = 4_000_000
"""Elements of the largest arrays of weights: 32 MB."""
ONCE = np.ones((1, 1), np.int64)
"""Weights under which every sample of a single group counts once."""


def group_names(rows: pa.Table) -> Any:
    """The distinct clip groups of a scores table, sorted: an Arrow array."""
    return pc.unique(rows["group"]).sort()


def reliability(scores: Floats, labels: Integers) -> tuple[Floats, Floats, Integers]:
    """Mean score, share of fakes and number of samples of each bin of the calibration error that has any, [bins]."""
    place = _ece_bins(scores)
    counts = np.bincount(place, minlength=ECE_BINS)
    used = counts > 0
    mean, share = (np.bincount(place, values, ECE_BINS)[used] / counts[used] for values in (scores, labels))
    return mean, share, counts[used]


def _ece_bins(scores: Floats) -> Integers:
    """The bin of the calibration error, 0 to `ECE_BINS` - 1, of each score in 0..1."""
    return np.minimum((scores * ECE_BINS).astype(np.int64), ECE_BINS - 1)


class Judged:
    """Scores, labels and the group of each sample, sorted once.

    Args:
        scores: probabilities of fake, finite, [N].
        labels: 0 real, 1 fake, [N].
        logits: log-odds to rank by, [N].
        groups: index of each sample's group, [N]; None for a single group.
        count: number of groups, G.
        threshold: log-odds above which `acc_val` and `balanced_acc_val` call a sample fake; None if there is none.
    """

    def __init__(
        self,
        scores: ArrayLike,
        labels: ArrayLike,
        logits: ArrayLike,
        groups: ArrayLike | None = None,
        count: int = 1,
        *,
        threshold: float | None = None,
    ) -> None:
        self._scores, self._logits = np.asarray(scores, np.float64), np.asarray(logits, np.float64)
        self._fake = np.asarray(labels) == 1
        self._groups = np.zeros(len(self._fake), np.int64) if groups is None else np.asarray(groups, np.int64)
        self._count, self._threshold = count, threshold
        order = np.argsort(-self._logits, kind="stable")
        ranked = self._logits[order]
        self._order = order
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.array([], int)

    @classmethod
    def of(cls, rows: pa.Table, names: Any, *, threshold: float | None = None) -> "Judged":
        """The rows of a scores table, whose groups are numbered by `names`: those of `group_names` or more."""
        groups: Any = pc.index_in(rows["group"], value_set=names)
        scores, labels, logits = (rows[name].to_numpy() for name in ("score", "label", "logit"))
        return cls(scores, labels, logits, groups.to_numpy(), len(names), threshold=threshold)

    def measure(self, weights: Integers, metrics: Iterable[str] = METRICS) -> dict[str, Floats]:
        """Compute metrics with each sample counted as often as its group.

        Args:
            weights: of the groups, whole numbers, [R, G].
            metrics: of `METRICS`, and `tpr` and `fpr` at the threshold.

        Returns:
            [R] by metric; not a number where a class that the metric needs has no weight, or without a threshold.
        """
        wanted = tuple(metrics)
        found = self._means(weights, wanted)
        if _RANKING.intersection(wanted):
            step = max(CELLS // max(len(self._order), 1), 1)
            parts = [self._rankings(weights[start : start + step], wanted) for start in range(0, len(weights), step)]
            found |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: found[name] for name in wanted}

    def curve(self, weights: Integers) -> tuple[Integers, Integers]:
        """Reals and fakes, weighted, above each distinct log-odds [R, K + 1], from none to all."""
        drawn = weights.astype(np.int32)[:, self._groups[self._order]]
        fakes = self._fake[self._order]
        counts = (np.cumsum(drawn * one, axis=1, dtype=np.int64)[:, self._ends] for one in (~fakes, fakes))
        false, true = (np.concatenate([np.zeros((len(weights), 1), np.int64), one], axis=1) for one in counts)
        return false, true

    def _means(self, weights: Integers, wanted: Sequence[str]) -> dict[str, Floats]:
        """The metrics that are made of sums over samples, so of sums of their groups."""
        fake, score = self._fake, self._scores
        threshold = np.nan if self._threshold is None else self._threshold

        def total(values: ArrayLike) -> Floats:
            sums = np.bincount(self._groups, np.asarray(values, np.float64), minlength=self._count)
            return np.asarray(weights @ sums)

        reals, fakes = total(~fake), total(fake)
        found: dict[str, Floats] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for suffix, called in (("", score > 0.5), ("_val", self._logits > threshold)):
                hits, rejected = total(called & fake), total(~called & ~fake)
                tpr, fpr = hits / fakes, 1 - rejected / reals
                values = {"acc": (hits + rejected) / (reals + fakes), "balanced_acc": (tpr + 1 - fpr) / 2}
                if suffix and self._threshold is None:
                    values = {name: np.full(len(weights), np.nan) for name in values}
                found |= {f"{name}{suffix}": value for name, value in values.items()}
                if not suffix or self._threshold is not None:
                    found |= {"tpr": tpr, "fpr": fpr}
            epsilon = np.finfo(np.float64).eps
            of_truth = np.clip(np.where(fake, score, 1 - score), epsilon, 1 - epsilon)
            found["log_loss"] = total(-np.log(of_truth)) / (reals + fakes)
            found["brier"] = total((score - fake) ** 2) / (reals + fakes)
            if "ece" in wanted:
                place = _ece_bins(score)
                gaps = [np.abs(total((place == number) * (score - fake))) for number in range(ECE_BINS)]
                found["ece"] = np.sum(gaps, axis=0) / (reals + fakes)
        return found

    def _rankings(self, weights: Integers, wanted: Sequence[str]) -> dict[str, Floats]:
        false, true = self.curve(weights)
        reals, fakes = false[:, -1], true[:, -1]
        width, height = np.diff(false), np.diff(true)
        rows = np.arange(len(weights))
        found: dict[str, Floats] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            if {"auc", "partial_auc"}.intersection(wanted):
                areas = width * (true[:, 1:] + true[:, :-1]) / 2
                found["auc"] = areas.sum(1) / (reals * fakes)
            if "partial_auc" in wanted:
                most = PARTIAL_FPR * reals
                inside = false <= most[:, None]
                last = inside.sum(1) - 1  # the last point of the curve that is not beyond the limit
                after = np.minimum(last + 1, false.shape[1] - 1)
                rest, step = most - false[rows, last], false[rows, after] - false[rows, last]
                rise = np.where(step > 0, rest / np.maximum(step, 1), 0) * (true[rows, after] - true[rows, last])
                area = (areas * inside[:, 1:]).sum(1) + rest * (true[rows, last] + rise / 2)
                area = area / (reals * fakes)
                least = PARTIAL_FPR**2 / 2
                found["partial_auc"] = (1 + (area - least) / (PARTIAL_FPR - least)) / 2  # McClish: chance is 0.5
            if "eer" in wanted:
                # fpr - fnr rises from -1 to 1: the crossing is interpolated, as the field reports it.
                excess = false / reals[:, None] + true / fakes[:, None] - 1
                place = np.maximum((excess >= 0).argmax(1), 1)
                before, at = excess[rows, place - 1], excess[rows, place]
                found["eer"] = (false[rows, place - 1] + width[rows, place - 1] * -before / (at - before)) / reals
            if "ap" in wanted:
                precision = true[:, 1:] / np.maximum(true[:, 1:] + false[:, 1:], 1)
                found["ap"] = (height * precision).sum(1) / fakes
            for name, rate in RATES.items():
                if name in wanted:
                    last = (false <= rate * reals[:, None] + 1e-9).sum(1) - 1
                    found[name] = true[rows, last] / fakes
        undefined = (reals == 0) | (fakes == 0)
        return {name: np.where(undefined, np.nan, values) for name, values in found.items()}
