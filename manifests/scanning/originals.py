"""Pairs fakes with originals that another dataset holds."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["pair_elsewhere"]


def pair_elsewhere(report: ScanReport, dataset: str, originals: Iterable[VideoEntry]) -> None:
    """Give fakes their originals, which join the report's entries as references.

    A fake's target subject is then its original's, so that both datasets know the person by one name.

    Args:
        dataset: the one that holds the originals.
        originals: videos of a manifest; others than reals of that dataset are ignored.

    Raises:
        ManifestError: none of them is an original of these fakes.
    """
    reals = {
        (PurePosixPath(entry.path).stem, entry.quality): entry
        for entry in originals
        if entry.dataset == dataset and entry.label == 0
    }
    used: dict[str, VideoEntry] = {}
    entries = []
    for entry in report.entries:
        real = reals.get((report.elsewhere.get(entry.video_id, ""), entry.quality))
        if real is not None:
            used[real.video_id] = real
            subjects = (*real.subject_ids[:1], *entry.subject_ids[1:])
            entry = replace(entry, source_id=real.video_id, subject_ids=subjects)
        entries.append(entry)
    if report.entries and not used:
        qualities = sorted({entry.quality for entry in report.entries})
        raise ManifestError(
            f"None of the given originals is one of {dataset} in quality {' or '.join(qualities)} that these fakes "
            f"were made from: give a manifest of {dataset}, or its folder."
        )
    paired = {entry.path for entry in entries if entry.source_id in used}
    report.unpaired = [path for path in report.unpaired if path not in paired]
    report.entries = [*entries, *(replace(real, split=REFERENCE) for real in used.values())]
