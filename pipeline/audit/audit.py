"""`facemill audit`: looks for what makes results on datasets worthless, and says how sure each finding is."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemill import ConfigError
from facemill.manifests.checks.plausibility import implausible
from facemill.manifests.problem import condense
from facemill.manifests.records import LABELS, SPLITS
from facemill.pipeline.audit.columns import columns_of
from facemill.pipeline.audit.findings import Audit, Count, Finding
from facemill.pipeline.audit.leaks import find_duplicates, shared_things
from facemill.pipeline.audit.opened import Opened, open_dataset
from facemill.pipeline.audit.shortcuts import ALL_METHODS, LEAST_GROUPS, Shortcut, find_shortcuts
from facemill.pipeline.evaluate.scores import name_groups

__all__ = ["FRAMES", "audit", "audit_opened"]

FRAMES = 8
"""Crops of each video that are looked at, unless told otherwise."""
VERIFIED = {
    *("blank_images", "colour_tells", "empty_masks", "faint_method", "full_masks", "real_file_is_fake", "real_is_fake"),
}
"""Warnings of `verify` that are findings of an audit."""


def audit(folders: Sequence[Path], *, frames: int = FRAMES, on_crops: Callable[[int], None] | None = None) -> Audit:
    """Audit built datasets, each alone and against each other.

    Args:
        folders: datasets that are trained on and tested together.
        frames: crops of each video whose pixels are looked at.
        on_crops: called with the number of crops just looked at.

    Raises:
        ConfigError: if a folder is given twice.
        DatasetError: if a dataset is unfinished or damaged.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("A dataset is given twice: name each folder once.")
    short = len({folder.name for folder in folders}) == len(folders)
    return audit_opened(
        [open_dataset(folder, folder.name if short else str(folder), frames, on_crops) for folder in folders]
    )


def audit_opened(opened: Sequence[Opened]) -> Audit:
    counts = [count for one in opened for count in _counts(one)]
    shortcuts = {one.name: tuple(_shortcuts(one)) for one in opened}
    duplicates, near = find_duplicates(opened)
    findings = [
        *shared_things(opened),
        *near,
        *_lacking_classes(counts),
        *(finding for one in opened for finding in _verified(one)),
        *(_of_shortcut(name, one) for name, measured in shortcuts.items() for one in measured if one.found),
    ]
    notes = tuple(
        f"{name}: with fewer than {LEAST_GROUPS} clip groups that have reals, or fakes, no column can be said to "
        "predict the label or not"
        for name, measured in shortcuts.items()
        if not measured
    )
    total, looked_at = (
        sum(len(rows) for rows in every) for every in zip(*((one.rows, one.chosen) for one in opened), strict=True)
    )
    names = tuple(one.name for one in opened)
    return Audit(names, total, looked_at, tuple(counts), tuple(findings), shortcuts, tuple(duplicates), notes)


def _counts(one: Opened) -> Iterator[Count]:
    """By split in the usual order, reals first."""
    keys = ["split", "method", "quality"]
    videos = one.rows.table.group_by([*keys, "video_id"]).aggregate([([], "count_all"), ("track_id", "count_distinct")])
    how: Any = [("video_id", "count"), ("count_all", "sum"), ("count_all", "mean"), ("track_id_count_distinct", "mean")]
    rows = videos.group_by(keys).aggregate(how).to_pylist()
    rows.sort(key=lambda row: (SPLITS.index(row["split"]), row["method"] != "real", row["method"], row["quality"]))
    for row in rows:
        yield Count(one.name, *(row[key] for key in keys), *(row["_".join(column)] for column in how))


def _lacking_classes(counts: Sequence[Count]) -> Iterator[Finding]:
    for name, split in dict.fromkeys((count.dataset, count.split) for count in counts):
        methods = {count.method for count in counts if (count.dataset, count.split) == (name, split)}
        for label, lacks in zip(LABELS, ("real" not in methods, methods == {"real"}), strict=True):
            if lacks:
                yield Finding("classes", f"{split} has no {label} videos: nothing can be measured on it", dataset=name)


def _verified(one: Opened) -> Iterator[Finding]:
    """The warnings of `verify` that say that results are worthless."""
    problems = (problem for problem in implausible(one.rows, one.videos, one.seen) if problem.check in VERIFIED)
    for problem in condense(problems):
        more = f", and {problem.more} more like this" if problem.more else ""
        yield Finding(problem.check, problem.message + more, dataset=one.name)


def _shortcuts(one: Opened) -> list[Shortcut]:
    looks = np.concatenate([looks.values for looks in one.looks.values()])
    labels = one.chosen.numbers("label").astype(np.int64)
    methods, groups = (
        np.asarray(column.to_numpy(zero_copy_only=False), np.str_)
        for column in (one.chosen["method"], name_groups(one.chosen.table))
    )
    return find_shortcuts(columns_of(one.chosen, looks, one.facts), labels, methods, groups)


def _of_shortcut(name: str, shortcut: Shortcut) -> Finding:
    fakes = "fakes" if shortcut.method == ALL_METHODS else f"fakes of {shortcut.method}"
    low, high = shortcut.interval or (float("nan"), float("nan"))
    message = f"{shortcut.column} predicts {fakes} with an AUC of {shortcut.auc:.2f}, without the face"
    return Finding("shortcut", message, f"95 %: {low:.2f} to {high:.2f}", name)
