"""Figures measured on scores, with intervals: test videos are resampled, and trainings differ by their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.stats import t
from torch.utils.flop_counter import FlopCounterMode

from facemill.detectors.forgery import create
from facemill.pipeline.evaluate.intervals import CONFIDENCE, NORMAL, draw, replicate, spread_of, video_keys
from facemill.pipeline.evaluate.metrics import compute_metrics, score_videos
from facemill.pipeline.experiments.figures import Figure

__all__ = ["Measured", "Scores", "count_size", "summarise"]

_PERCENT = {"acc": 100.0, "auc": 100.0, "eer": 100.0, "log_loss": 1.0}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Our figure.

    Attributes:
        mean: over seeds.
        seeds: number of trainings; 0 for a size, which is counted.
        spread: standard deviation over seeds; None for one seed.
        half: half the width of the interval of `CONFIDENCE` around the mean; None for a size.
    """

    mean: float
    seeds: int = 0
    spread: float | None = None
    half: float | None = None


class Scores:
    """The scores of an evaluation.

    Videos are drawn with replacement; the draws of two evaluations of one dataset are the same.
    """

    def __init__(self, path: Path) -> None:
        self._rows = pq.read_table(path)
        self._videos = pc.unique(video_keys(self._rows)).sort()
        self._draws = draw(len(self._videos))

    def measure(self, figure: Figure) -> tuple[float, Floats] | None:
        """Measure a figure, and on each draw [R], in the paper's unit; None if the scores lack its data or a class."""
        parts = [self._measure(part) for part in figure.tested]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return float(np.mean([value for value, _ in known])), np.mean([draws for _, draws in known], axis=0)

    def _measure(self, figure: Figure) -> tuple[float, Floats] | None:
        assert figure.source is not None
        degraded = (pc.field("corruption") == figure.corruption) & (pc.field("severity") == figure.severity)
        rows = self._rows.filter(figure.source.rows() & degraded)
        if not len(rows):
            return None
        if figure.unit == "video":
            rows = score_videos(rows)
        logits, scores, labels = (rows[name].to_numpy() for name in ("logit", "score", "label"))
        value = getattr(compute_metrics(scores, labels, logits), figure.metric)
        if value is None or len(np.unique(labels)) < 2:
            return None
        videos: Any = pc.index_in(video_keys(rows), value_set=self._videos)
        draws = replicate(figure.metric, scores, labels, logits, videos.to_numpy(), self._draws)
        return value * _PERCENT[figure.metric], draws * _PERCENT[figure.metric]


def summarise(found: Sequence[tuple[float, Floats]]) -> Measured:
    """Summarise a figure over seeds.

    The interval's variance is that of the mean under draws of the test videos, and that of the mean over seeds, with
    Student's factor. With one seed it lacks the second.

    Args:
        found: results of `Scores.measure`, one a seed.
    """
    values = np.array([value for value, _ in found])
    tested = NORMAL * spread_of(np.mean([draws for _, draws in found], axis=0))
    if len(values) == 1:
        return Measured(float(values[0]), 1, None, float(tested))
    spread = float(values.std(ddof=1))
    trained = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * spread / np.sqrt(len(values))
    return Measured(float(values.mean()), len(values), spread, float(np.hypot(tested, trained)))


def count_size(detector: str, options: Mapping[str, Any], metric: str) -> Measured:
    """Count a network's parameters or operations for one image, without memory for its weights.

    Args:
        metric: `parameters` (in millions), `macs`, `flops` (two a multiply-add; both in 1e9), or `added_parameters` (in
            thousands, to the same network without attention).
    """
    options = {**options, "pretrained": False, "weights": None}
    with torch.device("meta"):
        network = create(detector, **options).eval()
        weights = sum(weight.numel() for weight in network.parameters())
        if metric == "parameters":
            return Measured(weights / 1e6)
        if metric == "added_parameters":
            plain = create(detector, **options | {"attention": "none"})
            return Measured((weights - sum(weight.numel() for weight in plain.parameters())) / 1e3)
        size = network.input_spec.size
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, size, size))
    return Measured(counter.get_total_flops() / (1e9 if metric == "flops" else 2e9))
