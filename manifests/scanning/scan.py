"""Scanning: from a dataset's folder to the videos of a manifest."""

from operator import attrgetter

from facemill import ManifestError
from facemill.manifests.datasets import DatasetAdapter, get
from facemill.manifests.datasets.globs import Globs
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.identity_splits import assign, assign_subjects, without_test_subjects
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.scanning.splits import OFFICIAL, Shares, assign_from_table, parse_split, unpair
from facemill.manifests.validation import check

__all__ = ["from_globs", "scan"]

_VAL_OF_TRAIN: Shares = (90, 10, 0)
"""Where a dataset has no val of its own."""


def scan(
    dataset: str | DatasetAdapter, root: str, *, quality: str | None = None, split: str = "official", seed: int = 0
) -> ScanReport:
    """Find the videos below `root`, pair them and split them; names are listed, videos never opened.

    Args:
        dataset: name of a registered dataset, or an adapter of your own.
        root: local folder or fsspec URL; for `csv`, the table.
        quality: keep this quality only; may be left out where the root holds one.
        split: `official`, `identity:80/10/10`, `all-train`, `all-val`, `all-test`, or a table of splits.
        seed: of a split by identity, and of the val that is carved where a dataset has none.

    Raises:
        ConfigError: unknown dataset or split option.
        ManifestError: no videos, an ambiguous quality, no official split, or videos that break a rule.
    """
    rule = parse_split(split)
    adapter = get(dataset) if isinstance(dataset, str) else dataset
    report = adapter.find(root, quality, official=rule == OFFICIAL)
    if not report.entries:
        raise ManifestError(_nothing_found(adapter, report))
    if not isinstance(rule, str):
        _split_by_identity(report, adapter, rule, seed)
    elif rule != OFFICIAL:
        assign_from_table(report, rule)
    elif adapter.lacks_val:
        _carve_val(report, adapter, seed)
    report.entries = unpair(report.entries, report)
    report.entries.sort(key=attrgetter("video_id"))
    check(report.entries)
    return report


def _split_by_identity(report: ScanReport, adapter: DatasetAdapter, shares: Shares, seed: int) -> None:
    if adapter.linked and max(shares) < 100:
        kept, left_out = assign_subjects(report.entries, shares, seed)
        _leave_out(report, kept, left_out)
    else:
        report.entries = assign(report.entries, shares, seed, family_of=adapter.family)


def _carve_val(report: ScanReport, adapter: DatasetAdapter, seed: int) -> None:
    """Make train and test share nobody, and give a part of train to val."""
    entries, left_out = without_test_subjects(report.entries)
    test = [entry for entry in entries if entry.split == "test"]
    _leave_out(report, [entry for entry in entries if entry.split != "test"], left_out)
    try:
        _split_by_identity(report, adapter, _VAL_OF_TRAIN, seed)
    except ManifestError:
        report.notes.append("Too few subjects are left in train to carve val from: val is empty.")
    report.entries += test


def _leave_out(report: ScanReport, kept: list[VideoEntry], left_out: list[VideoEntry]) -> None:
    report.entries = kept
    report.crossing = sorted([*report.crossing, *(entry.path for entry in left_out)])


def from_globs(root: str, real_glob: str, fake_glob: str, *, split: str, seed: int = 0) -> ScanReport:
    """Scan any folder by two patterns relative to `root`, such as `real/**/*.mp4`; nothing is paired.

    Raises:
        As `scan`; there is no official split.
    """
    return scan(Globs(real_glob, fake_glob), root, split=split, seed=seed)


def _nothing_found(adapter: DatasetAdapter, report: ScanReport) -> str:
    problems = {"missing": report.missing, "in no split": report.unsplit, "unknown": report.unknown}
    seen = "".join(f", {len(paths)} {kind}" for kind, paths in problems.items() if paths)
    return f"No {adapter.name} videos are below {report.root}{seen}: check the root and its layout."
