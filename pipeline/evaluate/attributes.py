"""Metrics by an attribute of the samples, such as the subjects' sex, and the gaps between its values."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from facemill.manifests.printable import printable
from facemill.pipeline.evaluate.intervals import find_interval, weights_of
from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos
from facemill.pipeline.evaluate.weighted import Judged

__all__ = ["COMPARED", "attributes_table", "compare_attributes"]

COMPARED = ("auc", "tpr", "fpr")


def compare_attributes(
    scores: pa.Table, name: str, values: Any, threshold: float, *, aggregate: str = AGGREGATE
) -> list[dict[str, Any]]:
    """Compare each value of an attribute with all others, for frames and for videos.

    Args:
        scores: rows of scores.parquet, of one corruption.
        values: the attribute of each row, text; a missing one counts as a value of its own.
        threshold: log-odds above which a sample is called fake.

    Returns:
        a row for each unit and value: `attribute`, `value`, `unit`, `reals`, `fakes`; AUC, TPR and FPR (`auc`, ...),
        `gaps` (the same minus that of all other samples), and `intervals` and `gap_intervals` of both, by clip groups.
        What is undefined is None.
    """
    column = values.fill_null("not given")
    names = pc.unique(scores["group"]).sort()
    weights = weights_of(len(names)) if len(names) else np.ones((1, 0), np.int64)

    def measure(rows: pa.Table) -> dict[str, Any]:
        places: Any = pc.index_in(rows["group"], value_set=names)
        score, label, logit = (rows[key].to_numpy() for key in ("score", "label", "logit"))
        judged = Judged(score, label, logit, places.to_numpy(), len(names), threshold=threshold)
        return judged.measure(weights, COMPARED)

    found = []
    for value in sorted(map(str, column.unique().to_pylist())):
        chosen: Any = pc.equal(column, pa.scalar(value))
        own, other = scores.filter(chosen), scores.filter(pc.invert(chosen))
        for unit in ("frame", "video"):
            rows, rest = (part if unit == "frame" else score_videos(part, aggregate) for part in (own, other))
            here, there = measure(rows), measure(rest)
            gaps = {key: here[key] - there[key] for key in COMPARED}
            fakes = int(rows["label"].to_numpy().sum())
            found.append(
                {
                    **{"attribute": name, "value": value, "unit": unit, "reals": len(rows) - fakes, "fakes": fakes},
                    **{key: _known(one) for key, one in here.items()},
                    "intervals": {key: _interval(one) for key, one in here.items()},
                    "gaps": {key: _known(one) for key, one in gaps.items()},
                    "gap_intervals": {key: _interval(one) for key, one in gaps.items()},
                }
            )
    return found


def attributes_table(rows: Iterable[Mapping[str, Any]], name: str) -> Table:
    """Table of one attribute of `compare_attributes`: each value's metrics, gaps to all others, and intervals."""
    title = Text(printable(f"By {name}, and the gap to all others"))
    table = Table("", title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("reals", "fakes", *(word for key in COMPARED for word in (key.upper(), "gap"))):
        table.add_column(head, justify="right")
    for row in rows:
        if row["attribute"] != name:
            continue
        pairs = [(row[key], row["gaps"][key]) for key in COMPARED]
        counts = (str(row["reals"]), str(row["fakes"]))
        table.add_row(Text(printable(f"{row['value']} ({row['unit']}s)")), *counts, *_cells(pairs))
        for place, bound in enumerate(("low", "high")):
            intervals = [(row["intervals"][key], row["gap_intervals"][key]) for key in COMPARED]
            bounds = [tuple(None if one is None else one[place] for one in pair) for pair in intervals]
            table.add_row(Text(f"  95 % {bound}", style="dim"), "", "", *_cells(bounds))
    return table


def _cells(pairs: Iterable[Iterable[float | None]]) -> list[str]:
    forms = (".3f", "+.3f")
    return [
        "-" if value is None else format(value, form) for pair in pairs for value, form in zip(pair, forms, strict=True)
    ]


def _known(values: Any) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None


def _interval(values: Any) -> list[float] | None:
    interval = find_interval(values)
    return None if interval is None else [*interval]
