"""`facemill metrics`: metrics of anybody's scores, from a CSV file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv
from scipy.special import expit

from facemill import ConfigError
from facemill.manifests.records import LABELS
from facemill.manifests.storage import atomic_path
from facemill.pipeline.evaluate.attributes import compare_attributes
from facemill.pipeline.evaluate.calibration import Thresholds
from facemill.pipeline.evaluate.coverage import UNSCORED, describe_unscored
from facemill.pipeline.evaluate.evaluation import METRICS_FILE, SCORES_FILE, Evaluation
from facemill.pipeline.evaluate.metrics import AGGREGATE, check_aggregate
from facemill.pipeline.evaluate.report import build_report, write_report
from facemill.pipeline.evaluate.scores import NO_CORRUPTION, SCORES
from facemill.pipeline.figures.plots import draw_plots

__all__ = ["Foreign", "evaluate_scores", "read_foreign"]

_NEEDED = ("video", "label", "score")
_OPTIONAL = ("frame", "method", "dataset", "quality", "group")
_VIDEO = ("dataset", "quality", "method", "video_id")
"""Columns that tell videos."""
_LIMITS = (-750.0, 40.0)
"""Log-odds that stand for scores of 0 and 1, below and above those of all other float64 numbers."""


@dataclass(frozen=True)
class Foreign:
    """Scores read from a file.

    Attributes:
        scores: with schema `SCORES`, a row for each line that has a score.
        attributes: the values of attribute columns in these lines.
        unscored: the videos of lines without a score: see `facemill.pipeline.evaluate.coverage`.
        notes: one sentence for each assumption.
    """

    scores: pa.Table
    attributes: pa.Table
    unscored: pa.Table
    notes: tuple[str, ...]


def evaluate_scores(
    path: str | Path,
    out: str | Path,
    *,
    logits: bool = False,
    attributes: Sequence[str] = (),
    threshold: float | None = None,
    video_score: str = AGGREGATE,
) -> Evaluation:
    """Compute metrics, intervals and plots of scores in a CSV file, as `evaluate` does.

    Args:
        path: columns video, label (0 or real, 1 or fake) and score; optionally frame, method, dataset, quality and
            group (of videos that are not independent, such as an original and its fakes). A line without a score
            counts as not scored.
        out: the folder to write scores.parquet, metrics.json and plots to.
        logits: the scores are log-odds, not probabilities.
        attributes: further columns, such as sex: metrics are compared between their values.
        threshold: a score chosen on other data, above which a video or frame is called fake.
        video_score: how videos are scored: see `score_videos`.

    Raises:
        ConfigError: names the line, video or column that is wrong; also for a score that is not finite.
    """
    check_aggregate(video_score)
    path, out = Path(path), Path(out)
    found = read_foreign(path, logits=logits, attributes=attributes)
    limit = None if threshold is None else float(_log_odds(np.array([threshold]), logits=logits)[0])
    report = build_report(
        found.scores, unscored=found.unscored, aggregate=video_score, thresholds=[Thresholds(limit, limit)]
    )
    compared = [
        row
        for name in attributes
        for row in compare_attributes(found.scores, name, found.attributes[name], limit or 0.0, aggregate=video_score)
    ]
    metrics = {**report, "attributes": compared}
    with atomic_path(out / SCORES_FILE) as temporary:
        pq.write_table(found.scores, temporary)
    draw_plots(found.scores, out, title=f"{path.name}: {{}}", aggregate=video_score)
    write_report(
        {"scores": str(path), "video_score": video_score, "threshold": threshold, **metrics}, out / METRICS_FILE
    )
    return Evaluation(out, metrics, (*found.notes, *describe_unscored(found.unscored)))


def read_foreign(path: Path, *, logits: bool = False, attributes: Sequence[str] = ()) -> Foreign:
    """Read a CSV file of scores; arguments and errors as for `evaluate_scores`."""
    table = _read(path, attributes)
    unknown = [name for name in table.column_names if name not in (*_NEEDED, *_OPTIONAL, *attributes)]
    notes = [f"Columns that are not used: {', '.join(unknown)}."] if unknown else []
    labels = _labels(path, table["label"])

    def text(name: str, otherwise: str) -> Any:
        given = name in table.column_names
        return table[name].fill_null(pa.scalar("")) if given else pa.repeat(otherwise, len(table))

    dataset, real = text("dataset", "scores"), pa.array(labels == 0)
    group: Any = pc.binary_join_element_wise(dataset, table["video"], " ")
    if "group" in table.column_names:
        named: Any = pc.binary_join_element_wise(dataset, table["group"], " ")
        group = pc.if_else(pc.is_valid(named), named, group)
    else:
        notes.append("There is no column group: videos are taken as independent, and intervals may be too narrow.")
    columns: dict[str, Any] = {
        "video_id": table["video"],
        "dataset": dataset,
        "method": pc.if_else(real, "real", text("method", "fake")),
        "label": pa.array(labels, pa.int8()),
        "quality": text("quality", ""),
        "split": pa.repeat("", len(table)),
        "group": group,
        "score": table["score"],
    }
    rows = pa.table(columns)
    frames: Any = table["frame"] if "frame" in table.column_names else pa.array(_occurrences(rows, _VIDEO), pa.int32())
    rows = rows.append_column("frame_index", frames)
    unscored, scored = _unscored(rows), pc.is_valid(rows["score"])
    rows = rows.filter(scored)
    values = _log_odds(_finite(path, rows), logits=logits)
    faces = _occurrences(rows, (*_VIDEO, "frame_index"))
    names: Any = pc.binary_join_element_wise(
        rows["video_id"], pc.cast(rows["frame_index"], pa.string()), pa.array(faces.astype(str)), "-"
    )
    found: dict[str, Any] = {name: rows[name] for name in rows.column_names}
    found |= {"sample_id": names, "track_id": faces.astype(np.int32), "logit": values}
    found |= {"corruption": [NO_CORRUPTION] * len(rows), "severity": [0] * len(rows)}
    if logits:
        found["score"] = expit(values)  # else as given, to the last bit
    scores = pa.table({name: found[name] for name in SCORES.names}, schema=SCORES)
    return Foreign(scores, table.select(list(attributes)).filter(scored), unscored, tuple(notes))


def _read(path: Path, attributes: Sequence[str]) -> pa.Table:
    kinds: dict[str, pa.DataType] = {name: pa.string() for name in (*_NEEDED, *_OPTIONAL, *attributes)}
    kinds |= {"score": pa.float64(), "frame": pa.int32()}
    options = csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=True)
    try:
        table = csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a table of scores: {error}.") from None
    missing = [name for name in (*_NEEDED, *attributes) if name not in table.column_names]
    if missing:
        raise ConfigError(f"{path} lacks the column {missing[0]}: it has {', '.join(table.column_names)}.")
    for name in ("video", *({"frame"} & set(table.column_names))):
        if table[name].null_count:
            line = int(np.flatnonzero(pc.is_null(table[name]).to_numpy())[0]) + 2
            raise ConfigError(f"Line {line} of {path} has no {name}.")
    return table.combine_chunks()


def _labels(path: Path, column: Any) -> NDArray[np.int64]:
    words = {"0": 0, "1": 1, LABELS[0]: 0, LABELS[1]: 1}
    labels = [words.get(str(word).lower()) for word in column.to_pylist()]
    if None in labels:
        line = labels.index(None)
        raise ConfigError(
            f"Line {line + 2} of {path} has the label {column[line].as_py()!r}: write 0 or real, 1 or fake."
        )
    return np.array(labels, np.int64)


def _finite(path: Path, rows: pa.Table) -> NDArray[np.float64]:
    scores = rows["score"].to_numpy().astype(np.float64)
    odd = np.flatnonzero(~np.isfinite(scores))
    if len(odd):
        [row] = rows.select(["video_id", "frame_index"]).slice(int(odd[0]), 1).to_pylist()
        raise ConfigError(
            f"The score of frame {row['frame_index']} of video {row['video_id']} in {path} is {scores[odd[0]]}: leave "
            "it empty if there is none, and it counts as not scored."
        )
    return scores


def _log_odds(scores: NDArray[np.float64], *, logits: bool) -> NDArray[np.float64]:
    if logits:
        return scores
    odd = scores[(scores < 0) | (scores > 1)]
    if len(odd):
        raise ConfigError(f"The score {odd[0]:g} is no probability: use --logits if scores are log-odds.")
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.clip(np.log(scores) - np.log1p(-scores), *_LIMITS)
    return found


def _occurrences(rows: pa.Table, keys: Sequence[str]) -> NDArray[np.int64]:
    """How many earlier rows are equal to each row in some columns."""
    seen: Counter[tuple[Any, ...]] = Counter()
    counts = []
    for row in zip(*(rows[key].to_pylist() for key in keys), strict=True):
        counts.append(seen[row])
        seen[row] += 1
    return np.array(counts, np.int64)


def _unscored(rows: pa.Table) -> pa.Table:
    lost: Any = pc.is_null(rows["score"])
    counted = rows.append_column("lost", lost.cast(pa.int64())).append_column("whole", lost)
    found = counted.group_by([*_VIDEO], use_threads=False).aggregate([("lost", "sum"), ("whole", "all")])
    table = found.select([*_VIDEO, "lost_sum", "whole_all"]).rename_columns(UNSCORED.names).cast(UNSCORED)
    return table.filter(pc.field("frames") > 0)
