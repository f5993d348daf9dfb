"""Classification metrics of scores: frame-level and video-level; overall, per dataset and per method.

A score is the probability of fake, 0..1; a label is 0 for real and 1 for fake. Ranking metrics (AUC, EER, AP, TPR at a
given FPR and the ROC curve) use log-odds, since scores tie at 1.0 from log-odds of 37 on; the others use scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from facemill import ConfigError
from facemill.pipeline.evaluate.weighted import METRICS, ONCE, RATES, Judged

__all__ = [
    "AGGREGATE",
    "Group",
    "check_aggregate",
    "compute_metrics",
    "measurable",
    "roc_curve",
    "score_videos",
    "split_datasets",
    "split_methods",
]

Floats = NDArray[np.float64]
AGGREGATE = "mean"
"""How a video's score is made of those of its frames, unless another way is asked for."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a scores table for one dataset in one quality; with `method`, its fakes and all reals of these."""

    dataset: str
    quality: str
    rows: pa.Table
    method: str = ""


def compute_metrics(
    scores: ArrayLike, labels: ArrayLike, logits: ArrayLike | None = None, *, threshold: float | None = None
) -> dict[str, Any]:
    """Compute metrics of frames or videos, from scores in 0..1 [N] and labels [N].

    Args:
        logits: log-odds [N] to rank by; None to rank by scores.
        threshold: log-odds chosen on validation; None if there is none.

    Returns:
        `reals` and `fakes`, how many there are, and metrics; None if undefined, and all if a score is not finite.

        acc: accuracy with a threshold of 0.5 (above: fake); needs at least one score.
        balanced_acc: mean of the accuracies of reals and of fakes; needs both classes, like the next ones up to `ap`.
        acc_val, balanced_acc_val: the same at the threshold chosen on validation; need one.
        auc: area under the ROC curve.
        partial_auc: of the part up to a false positive rate of 0.1, scaled so that chance is 0.5 (McClish, 1989).
        eer: equal error rate: where the false positive rate equals the false negative rate, interpolated
            linearly on the ROC curve.
        ap: average precision, with fakes as positives.
        tpr_at_fpr_1, tpr_at_fpr_01: highest true positive rate of a threshold whose false positive rate is at most 1 %
            or 0.1 %; need 100 or 1,000 reals, since fewer cannot show such a rate.
        log_loss: mean binary cross-entropy in nats, scores clipped to one float64 epsilon from 0 and 1;
            needs at least one score, like the next ones.
        brier: mean squared difference between score and label.
        ece: expected calibration error: mean absolute difference between the mean score and the share of fakes in
            each of 15 equal bins of the score, weighted by their samples.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    fakes = int(truth.sum())
    reals = len(truth) - fakes
    found = dict.fromkeys(METRICS, np.array([np.nan]))
    if len(values) and np.isfinite(values).all():
        found = Judged(values, truth, values if logits is None else logits, threshold=threshold).measure(ONCE)
    metrics = {name: measurable(name, float(value[0]), reals) for name, value in found.items()}
    return {"reals": reals, "fakes": fakes, **metrics}


def measurable(metric: str, value: float, reals: int) -> float | None:
    """The value of a metric, or None if it is not a number or there are too few reals to measure it."""
    return value if np.isfinite(value) and (metric not in RATES or reals * RATES[metric] >= 1) else None


def roc_curve(ranking: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates [K] at all thresholds of scores or log-odds [N], from (0, 0) to (1, 1).

    Needs both classes.
    """
    values = np.asarray(ranking, np.float64)
    (false,), (true,) = Judged(values, labels, values).curve(ONCE)
    return false / false[-1], true / true[-1]


def check_aggregate(name: str) -> str:
    """Return the name of a way to score videos.

    Raises:
        ConfigError: if it is not `mean`, `median`, `max` or `top:K`.
    """
    if name in ("mean", "median", "max") or (name.startswith("top:") and name[4:].isdecimal() and int(name[4:])):
        return name
    raise ConfigError(
        f"A video is not scored by {name!r}: choose mean, median, max or top:K, the mean of the K highest."
    )


def score_videos(frames: pa.Table, aggregate: str = AGGREGATE) -> pa.Table:
    """Score each video by its frames: a row per video, in order of first appearance.

    A `video_id` is unique only within a dataset, quality, split, method and label; each corruption of a video has
    its own row. A video's log-odds are those of its score, but computed from its frames' log-odds, so that they
    rank videos like their scores, and still do where all scores are 1.0.

    Args:
        aggregate: `mean`, `median` or `max` of the frames' scores, or `top:K`, the mean of the K highest.

    Returns:
        columns dataset, quality, split, method, label, video_id, corruption, severity, group, score, logit, frames.
    """
    keys = ["dataset", "quality", "split", "method", "label", "video_id", "corruption", "severity"]
    # With several threads, the order of rows is not deterministic.
    grouped = frames.group_by(keys, use_threads=False).aggregate([("logit", "list"), ("group", "first")])
    lists: Any = grouped["logit_list"].combine_chunks()  # a ListArray
    starts, counts, values = lists.offsets.to_numpy()[:-1], np.diff(lists.offsets.to_numpy()), lists.values.to_numpy()
    if aggregate != "mean":
        video = np.repeat(np.arange(len(counts)), counts)
        values = values[np.lexsort((-values, video))]  # the highest first, in each video
        place = np.arange(len(values)) - starts[video]
        if aggregate == "median":
            kept = (place >= (counts[video] - 1) // 2) & (place <= counts[video] // 2)
        else:
            kept = place < (1 if aggregate == "max" else int(aggregate.removeprefix("top:")))
        values = values[kept]
        starts = np.searchsorted(video[kept], np.arange(len(counts)))
    # log(mean of p) - log(mean of 1 - p), where log p = -log(1 + exp(-logit)); the counts cancel out.
    fake, real = (
        np.logaddexp.reduceat(-np.logaddexp(0, sign * values), starts) if len(values) else values for sign in (-1, 1)
    )
    logits = fake - real
    added: dict[str, Any] = {"group": grouped["group_first"], "score": expit(logits), "logit": logits, "frames": counts}
    columns: dict[str, Any] = {name: grouped[name] for name in keys} | added
    return pa.table(columns)


def split_datasets(rows: pa.Table) -> Iterator[Group]:
    """Yield each dataset in each of its qualities, sorted by dataset and quality."""
    keys = rows.group_by(["dataset", "quality"]).aggregate([])
    for key in sorted(keys.to_pylist(), key=lambda key: tuple(key.values())):
        same = (pc.field("dataset") == key["dataset"]) & (pc.field("quality") == key["quality"])
        yield Group(**key, rows=rows.filter(same))


def split_methods(rows: pa.Table) -> Iterator[Group]:
    """Yield each method's fakes with the reals of their dataset and quality, sorted by dataset, quality and method."""
    for group in split_datasets(rows):
        fakes = group.rows.filter(pc.field("label") == 1)
        for method in sorted(map(str, fakes["method"].unique().to_pylist())):
            chosen = (pc.field("label") == 0) | (pc.field("method") == method)
            yield Group(group.dataset, group.quality, group.rows.filter(chosen), method)
