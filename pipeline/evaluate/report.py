"""Metrics of a scores table: metrics.json, and tables for the terminal."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from facemill.manifests.printable import printable
from facemill.manifests.storage import write_atomically
from facemill.pipeline.evaluate.intervals import half_intervals
from facemill.pipeline.evaluate.metrics import Metrics, compute_metrics, score_videos, split_datasets, split_methods
from facemill.pipeline.evaluate.scores import NO_CORRUPTION

__all__ = ["build_report", "metrics_table", "robustness_table", "write_report"]

Report = dict[str, Any]

_SHOWN = ("acc", "auc", "eer")  # the rest is in metrics.json: a terminal has 80 columns
_UNDEFINED = "-"


def build_report(scores: pa.Table) -> Report:
    """Compute the metrics of a scores table, as JSON values; an undefined metric is None.

    `frame` and `video` each hold `overall` (a `Metrics`), `datasets` (a list of rows: dataset, quality and their
    `Metrics`) and `methods` (a list of rows: dataset, quality, method and that method's `Metrics`, its fakes against
    the reals of the same dataset and quality). `robustness` holds `overall` (a list of rows: corruption, severity,
    frame_auc and video_auc) and `datasets` (a list of such rows with dataset and quality). `intervals` holds, for
    `frame` and `video`, half the width of the 95 % interval of each overall metric (see `half_intervals`).

    Args:
        scores: rows of scores.parquet, of one or more datasets; corrupted images are used for `robustness` only.
    """
    clean = scores.filter(pc.field("corruption") == NO_CORRUPTION)
    return {
        "frame": _summary(clean),
        "video": _summary(score_videos(clean)),
        "intervals": half_intervals(clean),
        "robustness": _robustness(scores.filter(pc.field("corruption") != NO_CORRUPTION)),
    }


def write_report(report: Report, path: Path) -> None:
    """Write metrics.json."""
    text = json.dumps(report, indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def metrics_table(report: Mapping[str, Any], title: str | None = None) -> Table:
    """Table of frame-level and video-level ACC, AUC and EER.

    One line for all, one for each dataset and quality if there are several, and one for each method.
    """
    table = Table("fakes of", title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for unit in ("frames", "videos"):
        table.add_column(unit, justify="right")
        for name in _SHOWN:
            table.add_column(name.upper(), justify="right")
    for name, frame, video in zip(_line_names(report), _lines(report["frame"]), _lines(report["video"]), strict=True):
        table.add_row(_plain(name), *_cells(frame), *_cells(video))
    return table


def robustness_table(report: Mapping[str, Any]) -> Table:
    """Table of frame-level AUC by corruption, with a column per severity; 0 means uncorrupted.

    One line for all, and one for each dataset and quality if there are several.
    """
    robustness, clean = report["robustness"], report["frame"]
    severities = sorted({row["severity"] for row in robustness["overall"]})
    table = Table("frame AUC by severity", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for severity in (0, *severities):
        table.add_column(str(severity), justify="right")
    lines = {"": (clean["overall"]["auc"], robustness["overall"])}
    if len(clean["datasets"]) > 1:
        for row in clean["datasets"]:
            lines[f"{_dataset(row)} "] = (
                row["auc"],
                [r for r in robustness["datasets"] if _dataset(r) == _dataset(row)],
            )
    for prefix, (auc, rows) in lines.items():
        found = {(row["corruption"], row["severity"]): row["frame_auc"] for row in rows}
        for name in dict.fromkeys(name for name, _ in found):
            aucs = (auc, *(found.get((name, severity)) for severity in severities))
            table.add_row(_plain(f"{prefix}{name}"), *map(_number, aucs))
    return table


def _summary(rows: pa.Table) -> Report:
    return {
        "overall": asdict(_metrics(rows)),
        "datasets": [
            {"dataset": group.dataset, "quality": group.quality, **asdict(_metrics(group.rows))}
            for group in split_datasets(rows)
        ],
        "methods": [
            {"dataset": group.dataset, "quality": group.quality, "method": group.method, **asdict(_metrics(group.rows))}
            for group in split_methods(rows)
        ],
    }


def _robustness(rows: pa.Table) -> Report:
    return {
        "overall": list(_corruption_rows(rows)),
        "datasets": [
            {"dataset": group.dataset, "quality": group.quality, **row}
            for group in split_datasets(rows)
            for row in _corruption_rows(group.rows)
        ],
    }


def _corruption_rows(rows: pa.Table) -> Iterator[Report]:
    for key in rows.group_by(["corruption", "severity"], use_threads=False).aggregate([]).to_pylist():
        same = (pc.field("corruption") == key["corruption"]) & (pc.field("severity") == key["severity"])
        frames = rows.filter(same)
        yield {**key, "frame_auc": _metrics(frames).auc, "video_auc": _metrics(score_videos(frames)).auc}


def _metrics(rows: pa.Table) -> Metrics:
    return compute_metrics(rows["score"].to_numpy(), rows["label"].to_numpy(), rows["logit"].to_numpy())


def _line_names(report: Mapping[str, Any]) -> list[str]:
    summary = report["frame"]
    datasets, methods = summary["datasets"], summary["methods"]
    if len(datasets) > 1:
        return ["all", *map(_dataset, datasets), *(f"{_dataset(row)} {row['method']}" for row in methods)]
    return ["all", *(row["method"] for row in methods)]


def _lines(summary: Report) -> list[Mapping[str, Any]]:
    datasets = summary["datasets"]
    return [summary["overall"], *(datasets if len(datasets) > 1 else ()), *summary["methods"]]


def _dataset(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']} {row['quality']}"


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    return [str(metrics["reals"] + metrics["fakes"]), *(_number(metrics[key]) for key in _SHOWN)]


def _number(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value:.3f}"


def _plain(name: str) -> Text:
    """A name as a cell, not taken for markup."""
    return Text(printable(name))
