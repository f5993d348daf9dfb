"""Curves of scores and of trainings, as figures of a page."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill.manifests.printable import printable
from facemill.pipeline.evaluate.intervals import CONFIDENCE, weights_of
from facemill.pipeline.evaluate.metrics import compute_metrics
from facemill.pipeline.evaluate.weighted import Judged, group_names, reliability
from facemill.pipeline.report.judged import Judged as Entry

__all__ = ["figures_of"]

Floats = NDArray[np.float64]
Figure = dict[str, Any]

_DRAWS = 300
"""Resamples of a curve's band: its bounds need fewer than those of a number."""
_GRID = np.unique(np.concatenate([[0.0], np.geomspace(1e-3, 1, 60), np.linspace(0, 1, 51)]))
"""False positive rates at which curves are drawn."""
_LEAST = 1e-3


def figures_of(entries: Sequence[Entry]) -> Iterator[tuple[str, str, Figure]]:
    """Title, what to look for, and figure."""
    for unit in ("frames", "videos"):
        tables = [one.frames if unit == "frames" else one.videos for one in entries]
        both = [number for number, rows in enumerate(tables) if len(rows["label"].unique()) == 2]
        curves = [(number, entries[number].name, *_roc(tables[number])) for number in both]
        if not curves:
            continue
        roc = [_trace(number, name, _GRID, *band) for number, name, *band in curves]
        yield (
            f"ROC of {unit}",
            "The share of fakes found over the share of reals called fake. Bands are 95 % intervals by clip groups: "
            "where those of two curves overlap, the order may be chance.",
            _figure(f"roc-{unit}", "false positive rate", "true positive rate", roc, diagonal=True),
        )
        det = [
            _trace(number, name, np.maximum(_GRID, _LEAST), *(np.maximum(1 - one, _LEAST) for one in (tpr, high, low)))
            for number, name, tpr, low, high in curves
        ]
        yield (
            f"DET of {unit}",
            "Fakes missed over reals called fake, both logarithmic: the lower left corner is where detectors are used.",
            _figure(f"det-{unit}", "false positive rate", "false negative rate", det, logarithmic=True),
        )
    reliable = [_reliability(number, one) for number, one in enumerate(entries) if len(one.frames)]
    yield (
        "Reliability of frames",
        "The share of fakes over the mean score of a bin. A calibrated score lies on the diagonal; a curve that is "
        "flatter is too sure.",
        _figure("reliability", "mean score", "share of fakes", reliable, diagonal=True),
    )
    for title, look_for, names in (
        ("Loss", "Validation that rises while training falls is overfitting.", ("train_loss", "val_loss")),
        ("Validation AUC", "The released weights are those of the highest point.", ("val_auc",)),
        ("Learning rate", "The schedule as it was run.", ("learning_rate",)),
    ):
        traces = [
            _log_trace(number, one.log, name, f"{one.name} {name}" if len(entries) > 1 else name, dashed=dash > 0)
            for number, one in enumerate(entries)
            for dash, name in enumerate(names)
            if any(name in row for row in one.log)
        ]
        if traces:
            yield title, look_for, _figure(title.lower().replace(" ", "-"), "epoch", title.lower(), traces, rates=False)


def _roc(rows: pa.Table) -> tuple[Floats, Floats, Floats]:
    """True positive rates at `_GRID`, and their bounds."""
    names = group_names(rows)
    judged, weights = Judged.of(rows, names), weights_of(len(names))
    rates = [_at_grid(*judged.curve(weights[[row]])) for row in (0, *range(-_DRAWS, 0))]
    drawn = [one for one in rates[1:] if one is not None]
    assert rates[0] is not None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, (tail, 100 - tail), axis=0) if len(drawn) > 1 else (rates[0], rates[0])
    return rates[0], low, high


def _at_grid(false: NDArray[np.int64], true: NDArray[np.int64]) -> Floats | None:
    """A curve at `_GRID`, interpolated; None if a class was not drawn."""
    if not (false[0, -1] and true[0, -1]):
        return None
    fpr, tpr = false[0] / false[0, -1], true[0] / true[0, -1]
    return np.asarray(np.interp(_GRID, fpr, tpr), np.float64)  # of a vertical step, its highest point


def _reliability(number: int, one: Entry) -> Figure:
    scores, labels = one.frames["score"].to_numpy(), one.frames["label"].to_numpy()
    mean, share, counts = reliability(scores, labels)
    ece = compute_metrics(scores, labels)["ece"]
    name = one.name if ece is None else f"{one.name} (calibration error {ece:.3f})"
    return {**_trace(number, name, mean, share), "text": [f"{count} crops" for count in counts.tolist()]}


def _trace(
    number: int, name: str, x: Floats, y: Floats, low: Floats | None = None, high: Floats | None = None
) -> Figure:
    band = {} if low is None or high is None else {"low": _short(low), "high": _short(high)}
    return {"name": printable(name), "colour": number, "x": _short(x), "y": _short(y), **band}


def _log_trace(number: int, log: Sequence[Any], column: str, name: str, *, dashed: bool) -> Figure:
    rows = [row for row in log if column in row]
    x, y = (np.array([row[key] for row in rows]) for key in ("epoch", column))
    return {**_trace(number, name, x + 1, y), "dashed": dashed}


def _figure(name: str, x: str, y: str, traces: list[Figure], **more: bool) -> Figure:
    kind = {"rates": True, "diagonal": False, "logarithmic": False, **more}
    return {"id": name, "x": x, "y": y, "traces": traces, **kind}


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
