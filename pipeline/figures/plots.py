"""Plots of scores: ROC curves, histograms of each class's scores, and timelines.

Rows are those of a scores table, of frames or of videos, without corruptions.
"""

import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facemill.manifests.printable import printable
from facemill.manifests.storage import write_atomically
from facemill.pipeline.evaluate.metrics import AGGREGATE, compute_metrics, roc_curve, score_videos, split_methods
from facemill.pipeline.evaluate.scores import NO_CORRUPTION
from facemill.pipeline.evaluate.weighted import reliability

__all__ = ["draw_plots", "draw_reliability", "draw_roc", "draw_scores", "timeline_png"]

_REAL, _FAKE = "#3b76af", "#c8443c"
_BINS = np.linspace(0, 1, 41).tolist()
_NAMED = 7
"""Persons with a colour of their own in a timeline: the next one of Matplotlib's is gray."""

Floats = NDArray[np.float64]


def draw_plots(scores: pa.Table, folder: Path, *, title: str, aggregate: str = AGGREGATE) -> None:
    """Draw all plots of a scores table, of frames and of videos, into a folder.

    Args:
        title: with a place, `{}`, for what is drawn.
        aggregate: how videos are scored: see `score_videos`.
    """
    frames = scores.filter(pc.field("corruption") == NO_CORRUPTION)
    for unit, rows in (("frames", frames), ("videos", score_videos(frames, aggregate))):
        for name, draw in (("roc", draw_roc), ("scores", draw_scores), ("reliability", draw_reliability)):
            draw(rows, folder / f"{name}-{unit}.png", title=title.format(unit))


def draw_roc(rows: pa.Table, path: Path, *, title: str) -> None:
    """Draw ROC curves as a PNG: overall, and each method's fakes against the reals of their dataset and quality."""
    axes = _axes(6.4, 6.4)
    groups = list(split_methods(rows))
    several = len({(group.dataset, group.quality) for group in groups}) > 1
    for group in groups:
        name = f"{group.dataset} {group.quality} {group.method}" if several else group.method
        _draw_curve(axes, group.rows, name, linewidth=1.3)
    _draw_curve(axes, rows, "all", linewidth=2.4, color="black")
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle="--", zorder=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate (reals called fake)", ylabel="true positive rate (fakes called fake)")
    if axes.get_legend_handles_labels()[0]:
        for text in axes.legend(loc="lower right", fontsize=9, frameon=False).get_texts():
            text.set_parse_math(False)
    write_atomically(path, _png(axes, title))


def draw_scores(rows: pa.Table, path: Path, *, title: str) -> None:
    """Draw a histogram of each class's scores as a PNG; each class's bars sum to 1."""
    axes = _axes(7.2, 4.2)
    for label, name, colour in ((0, "real", _REAL), (1, "fake", _FAKE)):
        scores = rows.filter(pc.field("label") == label)["score"].to_numpy()
        weights = np.full(len(scores), 1 / max(len(scores), 1))
        axes.hist(scores, _BINS, weights=weights, color=colour, alpha=0.6, label=f"{name} ({len(scores)})")
    axes.axvline(0.5, color="0.4", linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="score (probability of fake)", ylabel="share of the class")
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    write_atomically(path, _png(axes, title))


def draw_reliability(rows: pa.Table, path: Path, *, title: str) -> None:
    """Draw the share of fakes over the mean score as a PNG, in each of the bins of the calibration error."""
    axes = _axes(5.6, 5.2)
    scores, labels = rows["score"].to_numpy(), rows["label"].to_numpy()
    mean, share, counts = reliability(scores, labels)
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle="--", zorder=0)
    axes.plot(mean, share, color=_FAKE, marker="o", linewidth=1.3)
    for x, y, count in zip(mean, share, counts, strict=True):
        axes.annotate(str(count), (x, y), (0, 6), textcoords="offset points", fontsize=7, ha="center")
    ece = compute_metrics(scores, labels)["ece"]
    shown = "" if ece is None else f", calibration error {ece:.3f}"
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.05, 1.08), xlabel=f"mean score of the bin{shown}", ylabel="share of fakes")
    write_atomically(path, _png(axes, title))


def _draw_curve(axes: Axes, rows: pa.Table, name: str, **style: Any) -> None:
    """Draw a curve, unless it is undefined."""
    logits, labels = rows["logit"].to_numpy(), rows["label"].to_numpy()
    auc = compute_metrics(rows["score"].to_numpy(), labels, logits)["auc"]
    if auc is not None:
        hidden = " " if name.startswith("_") else ""  # Matplotlib leaves such labels out of its legends
        axes.plot(*roc_curve(logits, labels), label=f"{hidden}{printable(name)}  AUC {auc:.3f}", **style)


def timeline_png(persons: Mapping[str, tuple[Floats, Floats]], threshold: float | None) -> bytes:
    """Draw scores over time, a line per person, as a PNG.

    Args:
        persons: seconds [N], ascending, and scores [N], by name; the first ones have a colour and a name each.
        threshold: score to mark; None for none.
    """
    axes = _axes(8.4, 3.2)
    for number, (name, (seconds, scores)) in enumerate(persons.items()):
        named = number < _NAMED
        label = name if named else "others" if number == _NAMED else None
        axes.plot(seconds, scores, color=f"C{number}" if named else "0.7", label=label, zorder=3 if named else 2,
                  marker="o", markersize=3, linewidth=1.2)  # fmt: skip
    if threshold is not None:
        axes.axhline(threshold, color="0.4", linewidth=1, linestyle="--", label="threshold of frames")
    axes.set(ylim=(-0.02, 1.02), xlabel="seconds", ylabel="score (probability of fake)")
    axes.figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return _png(axes, "")


def _axes(width: float, height: float) -> Axes:
    """The axes of a new figure of some inches."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained").add_subplot()


def _png(axes: Axes, title: str) -> bytes:
    axes.set_title(printable(title), fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer, figure = BytesIO(), axes.figure
    assert isinstance(figure, Figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in scripts that the font lacks
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
