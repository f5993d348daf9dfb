"""`facemill compare`: differences between evaluations of the same samples, with intervals and tests."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from facemill import ConfigError
from facemill.pipeline.evaluate.evaluation import SCORES_FILE
from facemill.pipeline.evaluate.intervals import RESAMPLES, find_interval, weights_of
from facemill.pipeline.evaluate.metrics import AGGREGATE, check_aggregate, measurable, score_videos
from facemill.pipeline.evaluate.scores import NO_CORRUPTION, read_scores
from facemill.pipeline.evaluate.weighted import METRICS, Judged

__all__ = ["auc_covariance", "compare", "compare_tables", "delong_test", "holm"]

Floats = NDArray[np.float64]

_KEYS = ("dataset", "quality", "split", "method", "label", "video_id", "sample_id")
_COMPARED = tuple(name for name in METRICS if not name.endswith("_val"))
_TESTS = ("p_bootstrap", "p_delong")


def compare(folders: Sequence[str | Path], *, video_score: str = AGGREGATE) -> dict[str, Any]:
    """Compare evaluations on the crops that all of them have scored.

    Args:
        folders: of two or more evaluations, each of one run.
        video_score: how videos are scored: see `score_videos`.

    Returns:
        see `compare_tables`, and `evaluations`, the folders in their order.

    Raises:
        ConfigError: if a folder has no scores, or all have no crop in common.
    """
    check_aggregate(video_score)
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise ConfigError("One evaluation cannot be compared: give two or more folders.")
    several = [path for path in paths if not (path / SCORES_FILE).exists() and any(path.glob(f"seed-*/{SCORES_FILE}"))]
    if several:
        raise ConfigError(f"{several[0]} has a folder for each seed: compare those.")
    found = compare_tables([read_scores(path / SCORES_FILE) for path in paths], aggregate=video_score)
    return {"evaluations": list(map(str, paths)), **found}


def compare_tables(scores: Sequence[pa.Table], *, aggregate: str = AGGREGATE) -> dict[str, Any]:
    """Compare scores tables, each with each, on uncorrupted crops.

    The same clip groups are drawn for both tables of a pair. DeLong's test is of AUCs of videos, which it takes as
    independent; the test by resampling does not.

    Returns:
        `samples`: how many all tables have; `left_out`: how many some table lacks; `rows`: for each unit, metric and
        pair of tables (`first` and `second`, their numbers): `values`, `difference` (second minus first), `interval`,
        `p_bootstrap`, `p_delong`, and both after Holm's correction over the pairs of the metric (`..._holm`).

    Raises:
        ConfigError: if there is no sample in common.
    """
    frames, left_out = _common(scores)
    rows: list[dict[str, Any]] = []
    for unit, tables in (("frame", frames), ("video", [score_videos(table, aggregate) for table in frames])):
        labels = tables[0]["label"].to_numpy()
        names, places = np.unique(tables[0]["group"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        weights = weights_of(len(names))
        logits = [table["logit"].to_numpy() for table in tables]
        measured = [
            Judged(table["score"].to_numpy(), labels, logit, places, len(names)).measure(weights, _COMPARED)
            for table, logit in zip(tables, logits, strict=True)
        ]
        for metric in _COMPARED:
            pairs = []
            for first, second in combinations(range(len(tables)), 2):
                values = [measured[number][metric] for number in (first, second)]
                if measurable(metric, float(values[0][0]), int((labels == 0).sum())) is None:
                    continue
                delong = metric == "auc" and unit == "video"
                row: dict[str, Any] = {"unit": unit, "metric": metric, "first": first, "second": second}
                row |= {"values": [float(value[0]) for value in values], **_difference(values[1] - values[0])}
                row["p_delong"] = delong_test(logits[first], logits[second], labels) if delong else None
                pairs.append(row)
            for test in _TESTS:
                for row, corrected in zip(pairs, holm([row[test] for row in pairs]), strict=True):
                    row[f"{test}_holm"] = corrected
            rows += pairs
    return {"samples": len(frames[0]), "left_out": left_out, "rows": rows}


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


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number (Holm, 1979); None stays None and does not count."""
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[place] = least
    return corrected


def _difference(values: Floats) -> dict[str, Any]:
    """A difference under each row of `weights_of`: its value, interval, and p of no difference."""
    interval = find_interval(values)
    draws = values[-RESAMPLES:]
    draws = draws[np.isfinite(draws)]
    least = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = None if interval is None else min(1.0, 2 * (least + 1) / (len(draws) + 1))
    return {"difference": float(values[0]), "interval": interval, "p_bootstrap": p}


def _common(scores: Sequence[pa.Table]) -> tuple[list[pa.Table], int]:
    """The uncorrupted samples that all tables have, in the same order, and how many others there are."""
    clean = [table.filter(pc.field("corruption") == NO_CORRUPTION).combine_chunks() for table in scores]
    keys = [_join(table) for table in clean]
    shared: Any = pc.unique(keys[0])
    for one in keys[1:]:
        shared = shared.filter(pc.is_in(shared, value_set=one))
    if not len(shared):
        raise ConfigError("The evaluations have no crop in common: evaluate the runs on the same dataset and split.")
    every: Any = pa.chunked_array(keys)
    rows: list[Any] = [pc.index_in(shared, value_set=one) for one in keys]
    tables = [table.take(row) for table, row in zip(clean, rows, strict=True)]
    return tables, len(every.unique()) - len(shared)


def _join(table: pa.Table) -> Any:
    parts: Any = [table[name].cast(pa.string()).combine_chunks() for name in _KEYS]
    return pc.binary_join_element_wise(*parts, "\x1f")
