"""Metrics by an attribute of the samples, such as the subjects' sex, and the gaps between its values."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from facemill.pipeline.evaluate.intervals import find_interval, weights_of
from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos
from facemill.pipeline.evaluate.terminal import add_bounds, name_cell, number_cells, number_table
from facemill.pipeline.evaluate.weighted import Judged, group_names

__all__ = ["COMPARED", "attributes_table", "compare_attributes"]

COMPARED = ("auc", "tpr", "fpr")
_FORMATS = (".3f", "+.3f")  # of a value, and of a gap


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
    names = group_names(scores)
    weights = weights_of(len(names)) if len(names) else np.ones((1, 0), np.int64)

    def measure(rows: pa.Table) -> dict[str, Any]:
        return Judged.of(rows, names, threshold=threshold).measure(weights, COMPARED)

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
                    "intervals": {key: find_interval(one) for key, one in here.items()},
                    "gaps": {key: _known(one) for key, one in gaps.items()},
                    "gap_intervals": {key: find_interval(one) for key, one in gaps.items()},
                }
            )
    return found


def attributes_table(rows: Iterable[Mapping[str, Any]], name: str) -> Table:
    """Table of one attribute of `compare_attributes`: each value's metrics, gaps to all others, and intervals."""
    heads = ("reals", "fakes", *(head for key in COMPARED for head in (key.upper(), "gap")))
    table = number_table("", heads, name_cell(f"By {name}, and the gap to all others"))
    for row in rows:
        if row["attribute"] == name:
            values = [of[key] for key in COMPARED for of in (row, row["gaps"])]
            intervals = [of[key] for key in COMPARED for of in (row["intervals"], row["gap_intervals"])]
            counts = (str(row["reals"]), str(row["fakes"]))
            named = name_cell(f"{row['value']} ({row['unit']}s)")
            table.add_row(named, *counts, *number_cells(values, cycle(_FORMATS)))
            add_bounds(table, intervals, len(counts), cycle(_FORMATS))
    return table


def _known(values: Any) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None
