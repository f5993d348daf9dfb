"""score.html: a page without any other file, with a timeline and the highest faces of each file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.special import expit

from facemill.detectors.forgery import ForgeryDetector
from facemill.manifests.storage import write_atomically
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.calibration import Thresholds
from facemill.pipeline.extract.account import spans
from facemill.pipeline.figures.explain import explain_crops
from facemill.pipeline.figures.explanation_sheet import explanation_sheet
from facemill.pipeline.figures.page import render_page
from facemill.pipeline.figures.plots import timeline_png
from facemill.pipeline.figures.sheet import png_of

__all__ = ["Figure", "draw_figures", "write_page"]

MOST_FIGURES = 30
"""Files with figures, those of the highest scores: they take some 400 kB of the page for each."""
_HIGHEST = 4
"""Faces shown of each file."""
_LISTED = 20
"""Faces that were not scored listed on the page of each file; scores.json has all."""


@dataclass(frozen=True)
class Figure:
    """A PNG, and its content in words."""

    png: bytes
    alt: str


def draw_figures(
    detector: ForgeryDetector,
    faces: FaceDataset,
    table: pa.Table,
    results: Sequence[Mapping[str, Any]],
    thresholds: Thresholds,
    device: torch.device,
) -> dict[str, list[Figure]]:
    """Draw the figures of the files with the highest scores, by name.

    Args:
        detector: on `device` and in eval mode.
        table: with schema `facemill.pipeline.score.results.FACE_SCORES`, a row for each crop of `faces`, in order.
        results: the files' parts of scores.json.
    """
    files = np.array(table["file"].to_pylist(), object)
    first = np.searchsorted(np.sort(faces.rows.ravel()), faces.rows[:, 0])  # a sample's first crop's row in the table
    index = {int(place): number for number, place in enumerate(first)}
    highest = sorted((result for result in results if result["persons"]), key=lambda result: -result["logit"])
    figures: dict[str, list[Figure]] = {}
    for result in highest[:MOST_FIGURES]:
        places = np.flatnonzero(files == result["file"])
        rows = table.take(places).to_pylist()
        drawn = [_timeline(result, rows, thresholds.frame)] if len({row["frame_index"] for row in rows}) > 1 else []
        shown = {index[place]: row for place, row in zip(places.tolist(), rows, strict=True) if place in index}
        drawn.append(_highest_faces(detector, faces, shown, device))
        figures[result["file"]] = drawn
    return figures


def _timeline(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], threshold: float | None) -> Figure:
    lines, words = {}, []
    for person in result["persons"]:
        own = sorted((r["pts_s"], r["score"]) for r in rows if r["track_id"] == person["track_id"])
        name, (times, scores) = f"person {person['track_id']}", np.array(own).T
        lines[name] = times, scores
        words.append(f"{name} from {scores.min():.2f} to {scores.max():.2f} in {len(own)} frames")
    png = timeline_png(lines, None if threshold is None else float(expit(threshold)))
    return Figure(png, f"Scores over time: {'; '.join(words[:_LISTED])}.")


def _highest_faces(
    detector: ForgeryDetector, faces: FaceDataset, rows: Mapping[int, Mapping[str, Any]], device: torch.device
) -> Figure:
    """Crops of the highest scores and their maps; `rows` by index in `faces`."""
    chosen = sorted(rows, key=lambda index: -rows[index]["logit"])[:_HIGHEST]
    captions = {
        index: "score {score:.3f}   frame {frame_index}   {pts_s:.2f} s   person {track_id}".format(**rows[index])
        for index in chosen
    }
    explained = explain_crops(detector, faces, captions, device)
    alt = (
        f"The faces with the highest scores ({'; '.join(captions.values())}), each with {', '.join(explained[0].maps)}."
    )
    return Figure(png_of(explanation_sheet(explained, cell=120, masks=False)), alt)


def write_page(path: Path, summary: Mapping[str, Any], figures: Mapping[str, Sequence[Figure]]) -> None:
    """Write the page of scores.json's content, and of the figures by file, atomically."""
    threshold = summary["thresholds"]["video"]
    values = {
        **summary,
        "figures": figures,
        "threshold": None if threshold is None else float(expit(threshold)),
        "listed": _LISTED,
        "most": MOST_FIGURES,
    }
    title, package = f"Scores of {len(summary['files'])} files", "facemill.pipeline.score"
    filters = {"spans": spans}
    page = render_page(title, "score.html", values, package=package, generator="facemill score", filters=filters)
    write_atomically(path, page)
