"""The report of training runs and evaluations, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemill import ConfigError, FacemillError
from facemill.manifests.checks.columns import places
from facemill.manifests.records import LABELS
from facemill.manifests.storage import write_atomically
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.compare import compare_tables
from facemill.pipeline.evaluate.intervals import CONFIDENCE
from facemill.pipeline.evaluate.seen import titled
from facemill.pipeline.figures.explain import explain_crops
from facemill.pipeline.figures.page import PageTable
from facemill.pipeline.figures.sheet import overlay_heat_map
from facemill.pipeline.report.curves import figures_of
from facemill.pipeline.report.judged import Judged, read_judged
from facemill.pipeline.report.page import render_report
from facemill.pipeline.report.pictures import Gallery, Picture, picture_url
from facemill.pipeline.report.verdicts import Verdict, in_order
from facemill.pipeline.runs.folder import load_run

__all__ = ["report_evaluations"]

_HARDEST = 6
"""Crops of each class that are shown, each of another video."""
_FEW_GROUPS = 30
_UNSURE = 0.1
"""Calibration error from which scores are no probabilities."""
_METRICS = {"auc": "AUC", "acc": "ACC", "eer": "EER"}


def report_evaluations(folders: Sequence[Path], path: Path) -> None:
    """Write the report of runs, by their validation scores, and evaluations as one HTML file, atomically.

    Raises:
        ConfigError: if a folder is neither a run nor an evaluation, or damaged.
    """
    entries = read_judged(folders)
    figures = list(figures_of(entries))
    shown, notes = [], []
    for one in entries:
        try:
            shown += [gallery for label in (0, 1) if (gallery := _hardest(one, label, several=len(entries) > 1))]
        except (FacemillError, OSError) as error:
            notes.append(f"The crops of {one.name} cannot be shown: {error}")
    values = {
        "verdicts": in_order(verdict for one in entries for verdict in _verdicts(one, len(entries) > 1)),
        "tables": [_overall(entries), *_tables(entries), *_compared(entries)],
        "figures": figures,
        "galleries": shown,
        "notes": notes,
        "settings": [(one.name, one.settings.splitlines()) for one in entries if one.settings],
        "data": {"lines": [figure for _, _, figure in figures]},
    }
    kind = "Training" if all(one.log for one in entries) else "Evaluation"
    title = f"{kind}{'s' if len(entries) > 1 else ''}: {', '.join(one.name for one in entries)}"
    write_atomically(path, render_report(title, "evaluations.html", values))


def _verdicts(one: Judged, several: bool) -> Iterator[Verdict]:
    overall, metrics = one.metrics["frame"]["overall"], one.metrics
    name = f"{one.name}: " if several else ""
    known = metrics.get("videos_trained_on")
    if one.log:
        yield Verdict("look", "Data", f"{name}these are validation scores, on which the epoch was chosen.", "tables")
    elif known:
        yield Verdict("bad", "Data", f"{name}{known:,} of the videos were trained on.", "tables")
    elif known == 0:
        yield Verdict("good", "Data", f"{name}no video was trained on.", "tables")
    else:
        yield Verdict("look", "Data", f"{name}it is not known what was trained on.", "tables")
    if (lost := overall.get("frames_unscored", 0)) or overall.get("videos_unscored"):
        says = f"{name}{lost:,} frames and {overall['videos_unscored']:,} videos could not be scored, and do not count."
        yield Verdict("look", "Coverage", says, "tables")
    groups = overall["groups"]
    few = groups < _FEW_GROUPS
    says = f"{name}{groups:,} independent groups of videos{': intervals are wide' if few else ''}."
    yield Verdict("look" if few else "good", "Size", says, "tables")
    if overall["ece"] is not None:
        says = f"{name}scores differ from the share of fakes by {overall['ece']:.3f} on average."
        yield Verdict("look" if overall["ece"] > _UNSURE else "good", "Calibration", says, "reliability")
    rows = [row for row in metrics["video"]["methods"] if row["auc"] is not None]
    if len(rows) > 1:
        worst = min(rows, key=lambda row: row["auc"])
        chance = worst["intervals"]["auc"] and worst["intervals"]["auc"][0] <= 0.5
        says = f"{name}{worst['method']} of {worst['dataset']} is the hardest, with a video AUC of {worst['auc']:.3f}"
        yield Verdict(
            "bad" if chance else "good", "Methods", f"{says}{': it may be chance' if chance else ''}.", "tables"
        )


def _numbers(row: Mapping[str, Any]) -> list[float | None]:
    """A metric and the bounds of its interval, for each of `_METRICS`."""
    return [value for key in _METRICS for value in (row[key], *(row["intervals"][key] or (None, None)))]


def _columns(*names: str) -> dict[str, str]:
    """Columns of names, and then those of `_numbers`."""
    metrics = {f"{name} {bound}".strip(): ".3f" for name in _METRICS.values() for bound in ("", "low", "high")}
    return {**dict.fromkeys(names, ""), "reals": ",d", "fakes": ",d", **metrics}


def _overall(entries: Sequence[Judged]) -> PageTable:
    rows = [
        [one.name, one.detector, unit, found["reals"], found["fakes"], *_numbers(found)]
        for one in entries
        for unit in ("frame", "video")
        for found in (one.metrics[unit]["overall"],)
    ]
    return PageTable(f"All, with intervals of {CONFIDENCE:.0%}", _columns("name", "detector", "unit"), rows)


def _tables(entries: Sequence[Judged]) -> Iterator[PageTable]:
    """By method and by dataset, of each part of what a run has seen."""
    for key, title, names in (
        ("methods", "By method", ("dataset", "quality", "method")),
        ("datasets", "By dataset", ("dataset", "quality")),
    ):
        rows = []
        for one in entries:
            parts = titled(one.metrics) if one.metrics.get("parts") else [(None, one.metrics)]
            for part, metrics in parts:
                for of_unit in zip(metrics["frame"][key], metrics["video"][key], strict=True):
                    for unit, found in zip(("frame", "video"), of_unit, strict=True):
                        named = [one.name, part, *(found[name] for name in names), unit]
                        rows.append([*named, found["reals"], found["fakes"], *_numbers(found)])
        yield PageTable(title, _columns("name", "part", *names, "unit"), rows)


def _compared(entries: Sequence[Judged]) -> Iterator[PageTable]:
    """Differences between evaluations of the same crops."""
    if len(entries) < 2:
        return
    try:
        found = compare_tables([one.frames for one in entries])
    except ConfigError:
        return
    suffix = "_holm" if len(entries) > 2 else ""
    rows = []
    for row in found["rows"]:
        if row["metric"] in _METRICS:
            (first, second), (low, high) = row["values"], row["interval"] or (None, None)
            names = (entries[row["second"]].name, entries[row["first"]].name, row["unit"], row["metric"].upper())
            rows.append((*names, second, first, row["difference"], low, high, row[f"p_bootstrap{suffix}"]))
    forms = {"value": ".3f", "less": ".3f", "difference": "+.3f", "low": "+.3f", "high": "+.3f", "p": ".2g"}
    title = f"Differences on {found['samples']:,} crops that all have"
    yield PageTable(title, {"name": "", "less name": "", "unit": "", "metric": "", **forms}, rows)


def _hardest(one: Judged, label: int, *, several: bool) -> Gallery | None:
    """The crops of a class whose scores are the most wrong, with the detector's maps."""
    rows = one.frames.filter(np.equal(one.frames["label"].to_numpy(), label))
    if not one.data or not len(rows):
        return None
    faces = FaceDataset(one.data, str(rows["split"][0].as_py()))
    wrong = np.argsort(rows["logit"].to_numpy() * (1 if label else -1), kind="stable")
    _, first = np.unique(rows["video_id"].to_numpy(zero_copy_only=False)[wrong].astype(str), return_index=True)
    chosen = rows.take(wrong[np.sort(first)[:_HARDEST]])
    at = places(chosen["sample_id"], faces.samples["sample_id"])
    if (at < 0).any():
        raise ConfigError("the dataset has been built anew.")
    if one.run is None:
        return None
    detector = load_run(one.run)[0]
    captions = dict.fromkeys(at.tolist(), "")
    pictures, shown = [], "nothing"
    explained = explain_crops(detector, faces, captions, torch.device("cpu"))
    for crop, row in zip(explained, chosen.to_pylist(), strict=True):
        shown, heat = next(iter(crop.maps.items()))
        figure = f"score {row['score']:.3f}"
        caption = f"{row['method']}, {row['video_id']}, frame {row['frame_index']}"
        url = picture_url(crop.crop, overlay_heat_map(crop.crop, heat))
        pictures.append(Picture(url, f"{figure}: crop and {shown} of {caption}", figure, caption))
    of = f" of {one.name}" if several else ""
    wanted = "highest" if not label else "lowest"
    look_for = (
        f"The {wanted} scores of a {LABELS[label]}, with what the detector attends to: what do they have in common?"
    )
    return Gallery(f"Hardest {LABELS[label]} crops{of}", look_for, pictures, wide=True)
