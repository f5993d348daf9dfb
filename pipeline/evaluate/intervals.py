"""Intervals of metrics by resampling of the videos: the frames of one video are no independent samples."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import norm

from facemill.pipeline.evaluate.metrics import score_videos

__all__ = ["CONFIDENCE", "NORMAL", "draw", "half_intervals", "replicate", "spread_of", "video_keys"]

CONFIDENCE = 0.95
NORMAL = float(norm.ppf((1 + CONFIDENCE) / 2))
"""Half an interval of `CONFIDENCE`, in standard deviations."""
REPLICATES = 200
METRICS = ("acc", "auc", "eer", "log_loss")
_KEY = ("dataset", "quality", "method", "label", "video_id")
"""Columns that identify a video of a split."""

Floats = NDArray[np.float64]


def draw(videos: int) -> NDArray[np.int64]:
    """How often each video is drawn, [R, V]: as many videos as there are, with replacement, `REPLICATES` times."""
    return np.random.default_rng(0).multinomial(videos, np.full(videos, 1 / videos), size=REPLICATES)


def half_intervals(scores: pa.Table) -> dict[str, dict[str, float | None]]:
    """Half the width of the interval of `CONFIDENCE` around each metric, of frames and of videos.

    It covers the choice of videos, not that of a training's seed.

    Args:
        scores: rows of scores.parquet, of one corruption.

    Returns:
        `frame` and `video`, each by metric; None with fewer than two videos of a class, where no interval is known.
    """
    found: dict[str, dict[str, float | None]] = {}
    for unit, rows in (("frame", scores), ("video", score_videos(scores))):
        keys = video_keys(rows)
        distinct = pc.unique(keys)
        labels, logits, values = (rows[name].to_numpy() for name in ("label", "logit", "score"))
        videos: Any = pc.index_in(keys, value_set=distinct)
        places = videos.to_numpy()
        known = all(len(np.unique(places[labels == label])) > 1 for label in (0, 1)) and np.isfinite(logits).all()
        draws = draw(len(distinct)) if known else None
        found[unit] = {
            metric: None
            if draws is None
            else NORMAL * spread_of(replicate(metric, values, labels, logits, places, draws))
            for metric in METRICS
        }
    return found


def video_keys(rows: pa.Table) -> "pa.Array[Any]":
    """A name for each row's video, which is unique in a split."""
    parts: Any = [rows[name].cast(pa.string()) for name in _KEY]
    keys: pa.ChunkedArray[Any] = pc.binary_join_element_wise(*parts, "\x1f")
    return keys.combine_chunks()


def replicate(
    metric: str, scores: Floats, labels: NDArray[Any], logits: Floats, videos: NDArray[Any], draws: NDArray[Any]
) -> Floats:
    """Compute a metric of N samples with each sample counted as often as its video is drawn.

    Args:
        metric: as in `facemill.pipeline.evaluate.Metrics`; with all videos drawn once, the result is the same.
        scores, labels, logits, videos: of the samples, [N]; a video is a column of `draws`.
        draws: how often each video is drawn, [R, V].

    Returns:
        [R]; not a number where a draw lacks what the metric needs.
    """
    if metric in ("acc", "log_loss"):
        values = (scores > 0.5) == (labels == 1)
        if metric == "log_loss":
            epsilon = np.finfo(np.float64).eps
            values = -np.log(np.clip(np.where(labels == 1, scores, 1 - scores), epsilon, 1 - epsilon))
        sums = np.bincount(videos, values.astype(np.float64), minlength=draws.shape[1])
        with np.errstate(invalid="ignore"):  # a draw may have no video of a source
            return np.asarray(draws @ sums / (draws @ np.bincount(videos, minlength=draws.shape[1])))
    ranks, place = np.unique(-logits, return_inverse=True)  # from the highest logit to the lowest; equal ones together
    found = [_rank_metric(metric, place, labels, draw[videos], len(ranks)) for draw in draws]
    return np.array(found, np.float64)


def _rank_metric(metric: str, place: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any], ranks: int) -> float:
    fakes = np.bincount(place, weights * (labels == 1), minlength=ranks)
    reals = np.bincount(place, weights * (labels == 0), minlength=ranks)
    if not fakes.sum() or not reals.sum():
        return float("nan")
    above = np.cumsum(fakes)
    if metric == "auc":
        return float((reals * (above - fakes / 2)).sum() / (fakes.sum() * reals.sum()))
    fpr, tpr = (np.concatenate([[0.0], np.cumsum(one) / one.sum()]) for one in (reals, fakes))
    return float(np.interp(0.0, fpr + tpr - 1, fpr))


def spread_of(draws: Floats) -> float:
    """Standard deviation of those draws [R] that are numbers."""
    known = draws[np.isfinite(draws)]
    return float(known.std()) if len(known) else float("nan")
