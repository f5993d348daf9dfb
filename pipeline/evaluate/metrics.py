"""How well scores tell fakes from reals: per frame and per video, overall, per dataset and per method.

A score is the probability of fake, 0..1; a label is 0 for real and 1 for fake. What ranks (AUC, EER, AP and the ROC
curve) goes by log-odds, since scores tie at 1.0 from log-odds of 37 on; ACC and log loss go by scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import ArrayLike, NDArray
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_roc,
)

from facemill.pipeline.train.auroc import ranks

__all__ = [
    "DatasetGroup",
    "MethodGroup",
    "Metrics",
    "compute_metrics",
    "roc_curve",
    "score_videos",
    "split_datasets",
    "split_methods",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a set of frames, or of videos; None where one is undefined.

    Attributes:
        reals, fakes: how many of each class were judged.
        acc: share judged rightly when scores above 0.5 mean fake; needs at least one score.
        auc: area under the ROC curve; needs both classes, as `eer` and `ap` do.
        eer: equal error rate: where the false positive rate meets the false negative rate, interpolated
            linearly on the ROC curve.
        ap: average precision, fakes being the positives.
        log_loss: mean binary cross-entropy in nats, scores kept one float64 epsilon away from 0 and 1;
            needs at least one score.
    """

    reals: int
    fakes: int
    acc: float | None
    auc: float | None
    eer: float | None
    ap: float | None
    log_loss: float | None


@dataclass(frozen=True, slots=True)
class DatasetGroup:
    """All of a dataset in one quality: rows of a scores table."""

    dataset: str
    quality: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class MethodGroup:
    """A method's fakes with all the reals of the same dataset and quality: rows of a scores table."""

    dataset: str
    quality: str
    method: str
    rows: pa.Table


def compute_metrics(scores: ArrayLike, labels: ArrayLike, logits: ArrayLike | None = None) -> Metrics:
    """Metrics of scores in 0..1 [N] against labels [N]; all None where a score is not finite.

    Args:
        logits: log-odds [N], to rank by; without them scores are.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    fakes = int(truth.sum())
    reals = len(truth) - fakes
    acc = auc = eer = ap = log_loss = None
    if len(values) and np.isfinite(values).all():
        target = torch.tensor(truth)  # a copy: Arrow's arrays are read-only
        acc, log_loss = float(binary_accuracy(torch.tensor(values), target)), _log_loss(values, truth)
        if reals and fakes:
            ranking = values if logits is None else np.asarray(logits, np.float64)
            preds = ranks(torch.tensor(ranking))
            auc, ap = float(binary_auroc(preds, target)), float(binary_average_precision(preds, target))
            eer = _equal_error_rate(*roc_curve(ranking, truth))
    return Metrics(reals, fakes, acc, auc, eer, ap, log_loss)


def roc_curve(ranking: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates [K] at all thresholds of scores or log-odds [N], from (0, 0) to (1, 1).

    Needs both classes.
    """
    preds, target = torch.tensor(ranking, dtype=torch.float64), torch.tensor(labels, dtype=torch.int64)
    fpr, tpr, _ = binary_roc(ranks(preds), target)
    return fpr.double().numpy(), tpr.double().numpy()


def score_videos(frames: pa.Table) -> pa.Table:
    """A row per video, its score the mean of its frames': in order of first appearance.

    A `video_id` names a video within a dataset, quality, split, method and label only; each corruption of a video is
    a row of its own. A video's log-odds are those of its score, computed from its frames' log-odds, so that they
    rank videos as their scores do and go on to do so where scores are all 1.0.

    Returns:
        columns dataset, quality, split, method, label, video_id, corruption, severity, score, logit, frames.
    """
    keys = ["dataset", "quality", "split", "method", "label", "video_id", "corruption", "severity"]
    # One thread, or rows come in any order.
    grouped = frames.group_by(keys, use_threads=False).aggregate(
        [("score", "mean"), ("score", "count"), ("logit", "list")]
    )
    logits: Any = grouped["logit_list"].combine_chunks()  # a ListArray
    starts, values = logits.offsets.to_numpy()[:-1], logits.values.to_numpy()
    # log(mean of p) - log(mean of 1 - p), where log p = -log(1 + exp(-logit)); the counts cancel out.
    fake, real = (np.logaddexp.reduceat(-np.logaddexp(0, sign * values), starts) for sign in (-1, 1))
    videos = grouped.select([*keys, "score_mean"]).append_column("logit", pa.array(fake - real))
    return videos.append_column("frames", grouped["score_count"]).rename_columns([*keys, "score", "logit", "frames"])


def split_datasets(rows: pa.Table) -> Iterator[DatasetGroup]:
    """Each dataset in each of its qualities, sorted by dataset and quality."""
    keys = rows.group_by(["dataset", "quality"]).aggregate([])
    for key in sorted(keys.to_pylist(), key=lambda key: tuple(key.values())):
        same = (pc.field("dataset") == key["dataset"]) & (pc.field("quality") == key["quality"])
        yield DatasetGroup(**key, rows=rows.filter(same))


def split_methods(rows: pa.Table) -> Iterator[MethodGroup]:
    """Each method's fakes with all reals of the same dataset and quality, sorted by dataset, quality and method."""
    for group in split_datasets(rows):
        fakes = group.rows.filter(pc.field("label") == 1)
        for method in sorted(map(str, fakes["method"].unique().to_pylist())):
            judged = group.rows.filter((pc.field("label") == 0) | (pc.field("method") == method))
            yield MethodGroup(group.dataset, group.quality, method, judged)


def _equal_error_rate(fpr: Floats, tpr: Floats) -> float:
    # fpr - fnr rises from -1 to 1, strictly, since every threshold lets something through.
    return float(np.interp(0.0, fpr + tpr - 1, fpr))


def _log_loss(scores: Floats, labels: NDArray[np.int64]) -> float:
    epsilon = np.finfo(np.float64).eps
    of_truth = np.clip(np.where(labels == 1, scores, 1 - scores), epsilon, 1 - epsilon)
    return float(-np.log(of_truth).mean())
