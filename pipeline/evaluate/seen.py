"""Separation of an evaluation by what the run had seen: fakes of methods that it was trained on, and of others."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pyarrow_compute

__all__ = ["separate", "titled"]

pc: Any = pyarrow_compute
"""Untyped: the stubs support joins of plain arrays only."""

_TITLES = {
    "seen": "Methods seen in training",
    "unseen": "Methods not seen in training",
    "unknown": "Methods that may have been seen in training",
}
_KNOWN = {"videos": "videos trained on", "subjects": "with known subjects", "originals": "with known originals"}


def separate(scores: pa.Table, trained_on: pa.Table | None) -> dict[str, pa.Table]:
    """Separate the rows of a scores table; parts without rows are left out.

    Args:
        trained_on: identifiers of the samples that the run was trained and validated on; None if it keeps no list.

    Returns:
        `seen`: methods of which the run had fakes of the same dataset, in whatever quality. `unseen`: the others, so
        all of a dataset that it had not seen. Each with the reals of these datasets and qualities; reals of a dataset
        without fakes count by themselves. `unknown`: all rows, if the run keeps no list of methods.
    """
    if trained_on is None or trained_on["method"].null_count == len(trained_on):
        return {"unknown": scores}
    known = pc.is_in(_join(scores, "method"), value_set=_join(trained_on, "method").combine_chunks())
    real, place = pc.equal(scores["method"], "real"), _join(scores, "quality")
    alone = pc.and_not(real, pc.is_in(place, value_set=_among(place, pc.invert(real))))
    parts = {}
    for name, chosen in (("seen", known), ("unseen", pc.invert(known))):
        fakes = pc.and_not(chosen, real)
        beside = pc.and_(real, pc.is_in(place, value_set=_among(place, fakes)))
        rows = scores.filter(pc.or_(pc.or_(fakes, beside), pc.and_(alone, chosen)))
        if len(rows):
            parts[name] = rows
    return parts


def titled(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each part of an evaluation's metrics with its title, which says how many of its videos the run knows."""
    for name, part in metrics["parts"].items():
        counts = {what: part[f"{key}_trained_on"] for key, what in _KNOWN.items()}
        known = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        yield _TITLES[name] + (f" ({known})" if known else ""), part


def _join(table: pa.Table, column: str) -> Any:
    return pc.binary_join_element_wise(table["dataset"], table[column], "\x1f")


def _among(values: Any, rows: Any) -> Any:
    return values.filter(rows).combine_chunks()
