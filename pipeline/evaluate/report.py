"""Metrics of scores tables: metrics.json, and tables for the terminal."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from rich.text import Text

from facemill.manifests.storage import write_atomically
from facemill.pipeline.evaluate.calibration import Thresholds
from facemill.pipeline.evaluate.coverage import UNSCORED, count_unscored
from facemill.pipeline.evaluate.intervals import judge
from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos, split_datasets, split_methods
from facemill.pipeline.evaluate.scores import NO_CORRUPTION
from facemill.pipeline.evaluate.terminal import name_cell, number_cells, number_table

__all__ = ["build_report", "metrics_table", "robustness_table", "write_report"]

Report = dict[str, Any]

_SHOWN = ("acc", "auc", "eer")  # the rest is in metrics.json: a terminal has 80 columns


def build_report(
    scores: pa.Table | Sequence[pa.Table],
    *,
    unscored: pa.Table | None = None,
    aggregate: str = AGGREGATE,
    thresholds: Sequence[Thresholds] | None = None,
) -> Report:
    """Compute the metrics of a scores table, as JSON values; an undefined metric is None.

    `frame` and `video` each hold `overall`, `datasets` (a list of rows: dataset and quality) and `methods` (a list of
    rows: dataset, quality, method, its fakes against the reals of the same dataset and quality). Each has the metrics
    and intervals of `facemill.pipeline.evaluate.intervals.judge`, and what could not be scored: `videos_unscored` and
    `frames_unscored`. `robustness` holds `overall` (a list of rows: corruption, severity, frame_auc and video_auc, each
    with its interval) and `datasets` (a list of such rows with dataset and quality).

    Args:
        scores: rows of scores.parquet, of one or more datasets; corrupted images are used for `robustness` only.
            Several tables are of the same samples, one for each seed of a training.
        unscored: videos that could not be scored, wholly or in part: see `facemill.pipeline.evaluate.coverage`.
        aggregate: how videos are scored: see `score_videos`.
        thresholds: chosen on validation, one for each table.
    """
    tables = [scores] if isinstance(scores, pa.Table) else list(scores)
    clean = [table.filter(pc.field("corruption") == NO_CORRUPTION) for table in tables]
    corrupted = [table.filter(pc.field("corruption") != NO_CORRUPTION) for table in tables]
    videos = [score_videos(table, aggregate) for table in clean]
    unscored = UNSCORED.empty_table() if unscored is None else unscored
    limits = thresholds or [Thresholds()] * len(tables)
    return {
        "frame": _summary(clean, [limit.frame for limit in limits], unscored),
        "video": _summary(videos, [limit.video for limit in limits], unscored),
        "robustness": _robustness(corrupted, aggregate),
    }


def write_report(report: Report, path: Path) -> None:
    text = json.dumps(report, indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def metrics_table(report: Mapping[str, Any], title: str | None = None) -> Table:
    """Table of frame-level and video-level ACC, AUC and EER.

    One line for all, one for each dataset and quality if there are several, and one for each method. Below each: the
    bounds of its intervals; with several seeds the deviations over them; and how many frames and videos could not be
    scored. The lines below the first are always there, the others only if they say something.
    """
    heads = [head for unit in ("frames", "videos") for head in (unit, *map(str.upper, _SHOWN))]
    table = number_table("fakes of", heads, title)
    for name, units in _lines(report):
        table.add_row(name_cell(name), *(cell for unit in units for cell in _cells(unit)))
        for more, cells in _details(units):
            if name == "all" or any(cell != "-" for cell in cells if cell):
                table.add_row(Text(f"  {more}", style="dim"), *cells)
        lost = [units[0]["frames_unscored"], units[0]["videos_unscored"]]
        if name == "all" or any(lost):
            empty = [""] * len(_SHOWN)
            table.add_row(Text("  not scored", style="dim"), str(lost[0]), *empty, str(lost[1]))
    return table


def robustness_table(report: Mapping[str, Any]) -> Table:
    """Table of frame-level AUC by corruption, with a column per severity; 0 means uncorrupted.

    One line for all, and one for each dataset and quality if there are several.
    """
    robustness, clean = report["robustness"], report["frame"]
    severities = sorted({row["severity"] for row in robustness["overall"]})
    table = number_table("frame AUC by severity", map(str, (0, *severities)))
    lines = {"": (clean["overall"]["auc"], robustness["overall"])}
    for row in clean["datasets"] if len(clean["datasets"]) > 1 else ():
        own = [one for one in robustness["datasets"] if _dataset(one) == _dataset(row)]
        lines[f"{_dataset(row)} "] = row["auc"], own
    for prefix, (auc, rows) in lines.items():
        found = {(row["corruption"], row["severity"]): row["frame_auc"] for row in rows}
        for name in dict.fromkeys(name for name, _ in found):
            aucs = (auc, *(found.get((name, severity)) for severity in severities))
            table.add_row(name_cell(f"{prefix}{name}"), *number_cells(aucs))
    return table


def _summary(tables: Sequence[pa.Table], limits: Sequence[float | None], unscored: pa.Table) -> Report:
    def row(groups: Sequence[Any], *names: str) -> Report:
        keys = {name: getattr(groups[0], name) for name in names}
        counts = count_unscored(unscored, **keys)
        return {**keys, **judge([group.rows for group in groups], limits), **counts}

    return {
        "overall": judge(tables, limits) | count_unscored(unscored),
        "datasets": [row(groups, "dataset", "quality") for groups in zip(*map(split_datasets, tables), strict=True)],
        "methods": [
            row(groups, "dataset", "quality", "method") for groups in zip(*map(split_methods, tables), strict=True)
        ],
    }


def _robustness(tables: Sequence[pa.Table], aggregate: str) -> Report:
    return {
        "overall": list(_corruption_rows(tables, aggregate)),
        "datasets": [
            {"dataset": groups[0].dataset, "quality": groups[0].quality, **row}
            for groups in zip(*map(split_datasets, tables), strict=True)
            for row in _corruption_rows([group.rows for group in groups], aggregate)
        ],
    }


def _corruption_rows(tables: Sequence[pa.Table], aggregate: str) -> Iterator[Report]:
    for key in tables[0].group_by(["corruption", "severity"], use_threads=False).aggregate([]).to_pylist():
        same = (pc.field("corruption") == key["corruption"]) & (pc.field("severity") == key["severity"])
        frames = [table.filter(same) for table in tables]
        row = dict(key)
        for unit, chosen in (("frame", frames), ("video", [score_videos(table, aggregate) for table in frames])):
            found = judge(chosen, metrics=["auc"])
            row |= {f"{unit}_auc": found["auc"], f"{unit}_auc_interval": found["intervals"]["auc"]}
        yield row


def _lines(report: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield the name of each line of the table, and its metrics of frames and of videos."""
    units = report["frame"], report["video"]
    several = len(units[0]["datasets"]) > 1
    yield "all", [unit["overall"] for unit in units]
    if several:
        for rows in zip(*(unit["datasets"] for unit in units), strict=True):
            yield _dataset(rows[0]), [*rows]
    for rows in zip(*(unit["methods"] for unit in units), strict=True):
        yield f"{_dataset(rows[0])} {rows[0]['method']}" if several else rows[0]["method"], [*rows]


def _dataset(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']} {row['quality']}"


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    return [str(metrics["reals"] + metrics["fakes"]), *number_cells(metrics[key] for key in _SHOWN)]


def _details(units: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """The lines below a line of the table: bounds of intervals, and deviations over seeds."""

    def cells(value: Callable[[Mapping[str, Any], str], float | None]) -> list[str]:
        return [cell for unit in units for cell in ("", *number_cells(value(unit, key) for key in _SHOWN))]

    yield "95 % low", cells(lambda unit, key: (unit["intervals"][key] or [None])[0])
    yield "95 % high", cells(lambda unit, key: (unit["intervals"][key] or [None])[-1])
    if "spread" in units[0]:
        yield "± over seeds", cells(lambda unit, key: unit["spread"][key])
