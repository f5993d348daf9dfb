"""Figures measured on scores, with intervals: clip groups are resampled, and trainings differ by their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from facemill.detectors.forgery import create
from facemill.pipeline.evaluate.intervals import Interval, combine, weights_of
from facemill.pipeline.evaluate.metrics import score_videos
from facemill.pipeline.evaluate.scores import read_scores
from facemill.pipeline.evaluate.weighted import Judged, group_names
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
        interval: of the mean; None for a size, or if it is not known.
    """

    mean: float
    seeds: int = 0
    spread: float | None = None
    interval: Interval | None = None


class Scores:
    """The scores of an evaluation.

    Clip groups are drawn with replacement; the draws of two evaluations of one dataset are the same.

    Raises:
        ConfigError: if the file is damaged or of an earlier version.
    """

    def __init__(self, path: Path) -> None:
        self._rows = read_scores(path)
        self._groups = group_names(self._rows)
        self._weights = weights_of(len(self._groups))

    def measure(self, figure: Figure) -> Floats | None:
        """Measure a figure in the paper's unit, under each row of `weights_of`; the first is its value.

        None if the scores lack its data or a class.
        """
        parts = [self._measure(part) for part in figure.tested]
        known = [part for part in parts if part is not None]
        return None if len(known) < len(parts) else np.mean(known, axis=0)

    def _measure(self, figure: Figure) -> Floats | None:
        assert figure.source is not None
        degraded = (pc.field("corruption") == figure.corruption) & (pc.field("severity") == figure.severity)
        rows = self._rows.filter(figure.source.rows() & degraded)
        if figure.unit == "video":
            rows = score_videos(rows)
        if len(rows["label"].unique()) < 2:
            return None
        measured = Judged.of(rows, self._groups).measure(self._weights, [figure.metric])
        return measured[figure.metric] * _PERCENT[figure.metric]


def summarise(found: Sequence[Floats]) -> Measured:
    """Summarise a figure over seeds, by a result of `Scores.measure` for each."""
    mean, spread, interval = combine(np.array(found))
    return Measured(mean, len(found), spread, interval)


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
