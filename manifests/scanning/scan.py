"""Scanning: finds the videos of a dataset's folder for a manifest."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

from facemill import ConfigError, ManifestError
from facemill.manifests.datasets import DatasetAdapter
from facemill.manifests.datasets.globs import Globs
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.scanning.identity_splits import (
    assign,
    assign_subjects,
    keep_subjects_apart,
    unknown_subject_notes,
)
from facemill.manifests.scanning.listing import is_image
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.scanning.splits import OFFICIAL, Shares, add_references, assign_from_table, parse_split
from facemill.manifests.validation import check
from facemill.registry import DATASETS

__all__ = ["from_globs", "scan"]

_VAL_OF_TRAIN: Shares = (90, 10, 0)
"""Used if a dataset has no val split."""


def scan(
    dataset: str | DatasetAdapter,
    root: str,
    *,
    quality: str | None = None,
    split: str = "official",
    seed: int = 0,
    subjects_apart: bool = False,
    subject: str | None = None,
    originals: Sequence[VideoEntry] | str | None = None,
    images: str | None = None,
) -> ScanReport:
    """Find the videos below `root`, pair them and split them; files are listed by name, never opened.

    Examples:
        >>> found = facemill.scan("ffpp", "corpus", quality="c23")
        >>> facemill.write_manifest(found.entries, "videos.parquet")

    Args:
        dataset: name of a registered dataset, or an adapter of your own.
        root: local folder or fsspec URL; for `csv`, the table.
        quality: keep this quality only; may be omitted if the root has one quality.
        split: `official`, `identity:80/10/10`, `all-train`, `all-val`, `all-test`, or a table of splits.
        seed: of a split by identity, and of a val split carved from train.
        subjects_apart: drop videos of train and val so that an official split, or a table's, has no subject
            in two splits. A split by identity never does.
        subject: regular expression whose matches in a path (every group of every match) name the video's subjects,
            if the dataset does not name them.
        originals: of fakes that were made from another dataset's videos: the videos of its manifest, or its folder.
            They are added as references, to be read with their fakes.
        images: `frames` or `crops`, what images and folders of images show; by default what the dataset or its table
            tells, and otherwise full frames.

    Raises:
        ConfigError: unknown dataset, split option or `images`, a `subject` that matches nothing, or `originals` of a
            dataset that has its own.
        ManifestError: no videos, an ambiguous quality, no official split, a split by identity although no subjects
            are known, `originals` of which none is one, or videos that break a rule.
    """
    rule = parse_split(split)
    if images not in (None, "frames", "crops"):
        raise ConfigError(f"--images {images} is unknown: pass frames or crops.")
    adapter = DATASETS[dataset] if isinstance(dataset, str) else dataset
    if originals is not None and not adapter.originals:
        raise ConfigError(f"{adapter.name} has its originals itself: leave out --originals.")
    report = adapter.find(root, quality, official=rule == OFFICIAL)
    if not report.entries:
        raise ManifestError(_nothing_found(adapter, report))
    _tell_content(report, images)
    if rule == OFFICIAL and adapter.all_test:
        report.notes.append(f"{adapter.name} has no official split: all videos are test.")
    if subject is not None:
        report.entries = _name_subjects(report.entries, subject)
    found = report.entries
    if not isinstance(rule, str):
        if max(rule) < 100:
            report.notes += unknown_subject_notes(found, adapter.family)
        report.entries = _by_identity(report, found, adapter, rule, seed)
    else:
        if rule != OFFICIAL:
            assign_from_table(report, rule)
        if subjects_apart:
            report.entries, left_out = keep_subjects_apart(report.entries)
            _leave_out(report, left_out)
        if rule == OFFICIAL and adapter.lacks_val:
            _carve_val(report, adapter, seed, subjects_apart=subjects_apart)
    add_references(report, found)
    if originals is not None:
        if isinstance(originals, str):
            named = adapter.originals.items()
            scans = [DATASETS[name].find(originals, level, official=False) for name, level in named]
            originals = [entry for found_there in scans for entry in found_there.entries]
        _pair_elsewhere(report, adapter.originals, originals)
    report.entries.sort(key=attrgetter("video_id"))
    check(report.entries)
    return report


def _name_subjects(entries: Sequence[VideoEntry], pattern: str) -> list[VideoEntry]:
    r"""Name the subjects of videos that have none: `\d{3}` finds `004` and `005` in `fake/004_005.mp4`."""
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--subject {pattern!r} is not a regular expression ({error}): correct it.") from error
    named = [
        entry if entry.subject_ids else replace(entry, subject_ids=tuple(_subjects(entry, rule))) for entry in entries
    ]
    if not any(entry.subject_ids for entry in named):
        raise ConfigError(f"--subject {pattern!r} matches no path, such as {entries[0].path}: correct it.")
    return named


def _subjects(entry: VideoEntry, rule: re.Pattern[str]) -> dict[str, None]:
    """Each name once, in order of appearance in the path."""
    found = (name for match in rule.finditer(entry.path) for name in (match.groups() or (match[0],)))
    return dict.fromkeys(f"{entry.dataset}-{name}" for name in found if name)


def _tell_content(report: ScanReport, images: str | None) -> None:
    """Enter what images show, or tell what is assumed."""
    if images is not None:
        report.entries = [
            replace(entry, content=images) if entry.content is not None or is_image(entry.path) else entry
            for entry in report.entries
        ]
    elif full := sum(entry.content == "frames" for entry in report.entries):
        report.notes.append(
            f"{full} folders of images are taken as full frames of videos; if they are face crops already, scan with "
            "--images crops."
        )
    if timed := sum(entry.content is not None and entry.fake_periods is not None for entry in report.entries):
        report.notes.append(
            f"{timed} fakes that are forged at times only count as fake throughout: images have no times."
        )


def _by_identity(
    report: ScanReport, entries: list[VideoEntry], adapter: DatasetAdapter, shares: Shares, seed: int
) -> list[VideoEntry]:
    """The entries with a split by identity, without those left out."""
    if not adapter.linked or max(shares) == 100:
        return assign(entries, shares, seed, family_of=adapter.family)
    kept, left_out = assign_subjects(entries, shares, seed)
    _leave_out(report, left_out)
    return kept


def _carve_val(report: ScanReport, adapter: DatasetAdapter, seed: int, *, subjects_apart: bool) -> None:
    """Move a part of train to val by identity; if nothing may be left out, only target subjects are kept apart."""
    train = [entry for entry in report.entries if entry.split == "train"]
    others = [entry for entry in report.entries if entry.split != "train"]
    try:
        if adapter.linked and not subjects_apart:
            train, _ = assign_subjects(train, _VAL_OF_TRAIN, seed, whole=True)
        else:
            train = _by_identity(report, train, adapter, _VAL_OF_TRAIN, seed)
    except ManifestError:
        report.notes.append("Train has too few subjects to carve val from: val is empty.")
    report.entries = train + others


def _pair_elsewhere(report: ScanReport, datasets: Mapping[str, str], originals: Iterable[VideoEntry]) -> None:
    """Give fakes their originals, which join the report's entries as references.

    Args:
        datasets: those that hold originals, with the quality that the fakes were made from.
        originals: videos of a manifest; others than reals of these datasets and qualities are ignored.
    """
    reals = {
        PurePosixPath(entry.path).stem: entry
        for entry in originals
        if entry.label == 0 and datasets.get(entry.dataset) == entry.quality
    }
    used: dict[str, VideoEntry] = {}
    entries = []
    for entry in report.entries:
        real = reals.get(report.elsewhere.get(entry.video_id, ""))
        if real is not None:
            used[real.video_id] = real
            entry = replace(entry, source_id=real.video_id)
        entries.append(entry)
    if report.entries and not used:
        wanted = " or ".join(f"{dataset} in quality {quality}" for dataset, quality in datasets.items())
        raise ManifestError(
            f"None of the given originals is one of {wanted} that these fakes were made from: give a manifest of "
            f"{' and '.join(datasets)}, or the folder of one."
        )
    paired = {entry.path for entry in entries if entry.source_id in used}
    report.unpaired = [path for path in report.unpaired if path not in paired]
    report.entries = [*entries, *(replace(real, split=REFERENCE) for real in used.values())]


def _leave_out(report: ScanReport, entries: list[VideoEntry]) -> None:
    report.crossing = sorted([*report.crossing, *(entry.path for entry in entries if entry.split != REFERENCE)])


def from_globs(
    root: str, real_glob: str, fake_glob: str, *, split: str, photos: bool = False, **options: Any
) -> ScanReport:
    """Scan any folder by two patterns relative to `root`, such as `real/**/*.mp4`; videos are not paired.

    Args:
        photos: only images count, and those of a folder may go into different splits.
        options: of `scan`.

    Raises:
        As `scan`; there is no official split.
    """
    return scan(Globs(real_glob, fake_glob, photos), root, split=split, **options)


def _nothing_found(adapter: DatasetAdapter, report: ScanReport) -> str:
    problems = {"missing": report.missing, "in no split": report.unsplit, "unknown": report.unknown}
    problems["unreadable"] = report.unreadable
    seen = "".join(f", {len(paths)} {kind}" for kind, paths in problems.items() if paths)
    return f"There are no {adapter.name} videos below {report.root}{seen}: check the root and its layout."
