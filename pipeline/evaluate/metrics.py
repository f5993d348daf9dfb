"""Classification metrics of scores: frame-level and video-level; overall, per dataset and per method.

A score is the probability of fake, 0..1; a label is 0 for real and 1 for fake. Ranking metrics (AUC, EER, AP and the
ROC curve) use log-odds, since scores tie at 1.0 from log-odds of 37 on; ACC and log loss use scores.
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

from facemill.pipeline.evaluate.auroc import ranks

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
    """Metrics of a set of frames or videos; None if undefined.

    Attributes:
        reals, fakes: number of samples of each class.
        acc: accuracy with a threshold of 0.5 (above: fake); needs at least one score.
        auc: area under the ROC curve; needs both classes, like `eer` and `ap`.
        eer: equal error rate: where the false positive rate equals the false negative rate, interpolated
            linearly on the ROC curve.
        ap: average precision, with fakes as positives.
        log_loss: mean binary cross-entropy in nats, scores clipped to one float64 epsilon from 0 and 1;
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
    """Rows of a scores table for one dataset in one quality."""

    dataset: str
    quality: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class MethodGroup:
    """Rows of a scores table: a method's fakes with all reals of the same dataset and quality."""

    dataset: str
    quality: str
    method: str
    rows: pa.Table


def compute_metrics(scores: ArrayLike, labels: ArrayLike, logits: ArrayLike | None = None) -> Metrics:
    """Compute metrics of scores in 0..1 [N] against labels [N]; all None if a score is not finite.

    Args:
        logits: log-odds [N] to rank by; None to rank by scores.
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
    """Average the scores of each video's frames: a row per video, in order of first appearance.

    A `video_id` is unique only within a dataset, quality, split, method and label; each corruption of a video has
    its own row. A video's log-odds are those of its score, but computed from its frames' log-odds, so that they
    rank videos like their scores, and still do where all scores are 1.0.

    Returns:
        columns dataset, quality, split, method, label, video_id, corruption, severity, score, logit, frames.
    """
    keys = ["dataset", "quality", "split", "method", "label", "video_id", "corruption", "severity"]
    # With several threads, the order of rows is not deterministic.
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
    """Yield each dataset in each of its qualities, sorted by dataset and quality."""
    keys = rows.group_by(["dataset", "quality"]).aggregate([])
    for key in sorted(keys.to_pylist(), key=lambda key: tuple(key.values())):
        same = (pc.field("dataset") == key["dataset"]) & (pc.field("quality") == key["quality"])
        yield DatasetGroup(**key, rows=rows.filter(same))


def split_methods(rows: pa.Table) -> Iterator[MethodGroup]:
    """Yield each method's fakes with the reals of their dataset and quality, sorted by dataset, quality and method."""
    for group in split_datasets(rows):
        fakes = group.rows.filter(pc.field("label") == 1)
        for method in sorted(map(str, fakes["method"].unique().to_pylist())):
            rows_of_method = group.rows.filter((pc.field("label") == 0) | (pc.field("method") == method))
            yield MethodGroup(group.dataset, group.quality, method, rows_of_method)


def _equal_error_rate(fpr: Floats, tpr: Floats) -> float:
    # Interpolated, as the field reports it: torchmetrics takes the nearest threshold, which differs on small test sets.
    # fpr - fnr rises strictly from -1 to 1, since each threshold accepts at least one more sample.
    return float(np.interp(0.0, fpr + tpr - 1, fpr))


def _log_loss(scores: Floats, labels: NDArray[np.int64]) -> float:
    epsilon = np.finfo(np.float64).eps
    of_truth = np.clip(np.where(labels == 1, scores, 1 - scores), epsilon, 1 - epsilon)
    return float(-np.log(of_truth).mean())
