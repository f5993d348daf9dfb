"""What is chosen on validation scores: thresholds for decisions, and the temperature of the scores."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from facemill import ConfigError
from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos
from facemill.pipeline.evaluate.scores import read_scores

__all__ = [
    "Calibration",
    "Thresholds",
    "apply_temperature",
    "choose_threshold",
    "choose_thresholds",
    "fit_temperature",
    "read_calibration",
]

_LOG_TEMPERATURE = (-4.6, 4.6)
"""Range of the temperature's logarithm: 0.01 to 100."""


@dataclass(frozen=True)
class Thresholds:
    """Log-odds above which a frame or a video is called fake; None if none could be chosen."""

    frame: float | None = None
    video: float | None = None


@dataclass(frozen=True)
class Calibration:
    """What is chosen on a run's validation scores.

    Attributes:
        thresholds: of log-odds as `apply` returns them.
        temperature: that of the lowest log loss; None if there is none.
        calibrated: whether `apply` divides by it.
    """

    thresholds: Thresholds = Thresholds()
    temperature: float | None = None
    calibrated: bool = False

    def apply(self, scores: pa.Table) -> pa.Table:
        """A scores table, calibrated if that was asked for."""
        if not self.calibrated or self.temperature is None:
            return scores
        return apply_temperature(scores, self.temperature)


def read_calibration(path: Path, aggregate: str = AGGREGATE, *, calibrated: bool = False) -> Calibration:
    """Choose temperature and thresholds on a run's validation scores; nothing if the run has kept none.

    Args:
        path: the run's validation.parquet.
        aggregate: how videos are scored: see `score_videos`.
        calibrated: whether scores are to be calibrated; thresholds are then of calibrated scores.

    Raises:
        ConfigError: if scores are to be calibrated and there are none that a temperature fits, or they are damaged.
    """
    validation = read_scores(path) if path.is_file() else None
    temperature = None if validation is None else fit_temperature(validation["logit"], validation["label"])
    found = Calibration(Thresholds(), temperature, calibrated)
    if calibrated and temperature is None:
        raise ConfigError(f"{path.parent} has no validation scores that a temperature fits: leave out --calibrated.")
    if validation is None:
        return found
    return replace(found, thresholds=choose_thresholds(found.apply(validation), aggregate))


def choose_thresholds(validation: pa.Table, aggregate: str = AGGREGATE) -> Thresholds:
    """Choose the thresholds with the highest balanced accuracy on rows of scores, for frames and for videos."""
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
