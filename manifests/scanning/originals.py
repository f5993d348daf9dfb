"""Pairs fakes with originals that another dataset holds."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["pair_elsewhere"]


def pair_elsewhere(report: ScanReport, datasets: Mapping[str, str], originals: Iterable[VideoEntry]) -> None:
    """Give fakes their originals, which join the report's entries as references.

    Args:
        datasets: those that hold originals, with the quality that the fakes were made from.
        originals: videos of a manifest; others than reals of these datasets and qualities are ignored.

    Raises:
        ManifestError: none of them is an original of these fakes.
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
