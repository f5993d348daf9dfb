"""What is chosen on validation scores: thresholds for decisions, and the temperature of the scores."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos

__all__ = ["Thresholds", "apply_temperature", "choose_threshold", "choose_thresholds", "fit_temperature"]

_LOG_TEMPERATURE = (-4.6, 4.6)
"""Range of the temperature's logarithm: 0.01 to 100."""


@dataclass(frozen=True)
class Thresholds:
    """Log-odds above which a frame or a video is called fake; None if none could be chosen."""

    frame: float | None = None
    video: float | None = None


def choose_thresholds(validation: pa.Table, aggregate: str = AGGREGATE) -> Thresholds:
    """Choose the thresholds with the highest balanced accuracy on validation scores, for frames and for videos.

    Args:
        validation: rows of scores.parquet.
        aggregate: how videos are scored: see `score_videos`.
    """
    tables = (validation, score_videos(validation, aggregate))
    return Thresholds(*(choose_threshold(table["logit"].to_numpy(), table["label"].to_numpy()) for table in tables))


def choose_threshold(logits: ArrayLike, labels: ArrayLike) -> float | None:
    """Log-odds between two samples, above which calling samples fake has the highest balanced accuracy.

    If several are equally good, the middle one of these; None without both classes or with equal log-odds only.
    """
    values, fake = np.asarray(logits, np.float64), np.asarray(labels) == 1
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) < 2 or fake.all() or not fake.any():
        return None
    rejected, missed = (np.cumsum(np.bincount(place, one, len(distinct)))[:-1] / one.sum() for one in (~fake, fake))
    gain = rejected - missed
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    cut = best[len(best) // 2]
    return float((distinct[cut] + distinct[cut + 1]) / 2)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float | None:
    """Temperature by which log-odds are divided for the lowest log loss (Guo et al., ICML 2017).

    None if no temperature from 0.01 to 100 has it: the classes are separated, or the scores are worthless.
    """
    values: NDArray[np.float64] = np.asarray(logits, np.float64)
    signs = np.where(np.asarray(labels) == 1, 1.0, -1.0)
    if not len(values):
        return None
    found = minimize_scalar(
        lambda log: float(np.logaddexp(0, -signs * values / np.exp(log)).mean()),
        bounds=_LOG_TEMPERATURE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    at_an_end = min(abs(found.x - end) for end in _LOG_TEMPERATURE) < 0.01
    return None if at_an_end else float(np.exp(found.x))


def apply_temperature(scores: pa.Table, temperature: float) -> pa.Table:
    """Divide the log-odds of a scores table by a temperature, and compute the scores again."""
    logits = scores["logit"].to_numpy() / temperature
    for name, values in (("logit", logits), ("score", expit(logits))):
        scores = scores.set_column(scores.schema.get_field_index(name), scores.schema.field(name), pa.array(values))
    return scores
