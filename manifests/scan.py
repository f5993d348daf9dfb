"""Scanning: from a dataset's folder to the videos of a manifest."""

from operator import attrgetter

from facemill import ManifestError
from manifests.datasets import DatasetAdapter, get
from manifests.datasets.globs import Globs
from manifests.scan_report import ScanReport
from manifests.splits import assign, parse_split
from manifests.validation import check

__all__ = ["from_globs", "scan"]


def scan(
    dataset: str | DatasetAdapter, root: str, *, quality: str | None = None, split: str = "official", seed: int = 0
) -> ScanReport:
    """Find the videos below `root`, pair them and split them; names are listed, videos never opened.

    Args:
        dataset: name of a registered dataset, or an adapter of your own.
        root: local folder or fsspec URL; for `csv`, the table.
        quality: keep this quality only; may be left out where the root holds one.
        split: `official`, `identity:80/10/10`, `all-train`, `all-val` or `all-test`.
        seed: of a split by identity.

    Raises:
        ConfigError: unknown dataset or split option.
        ManifestError: no videos, an ambiguous quality, no official split, or videos that break a rule.
    """
    shares = parse_split(split)
    adapter = get(dataset) if isinstance(dataset, str) else dataset
    report = adapter.find(root, quality, official=shares is None)
    if not report.entries:
        raise ManifestError(_nothing_found(adapter, report))
    if shares is not None:
        report.entries = assign(report.entries, shares, seed)
    report.entries.sort(key=attrgetter("video_id"))
    check(report.entries)
    return report


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
