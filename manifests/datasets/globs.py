"""Any folder, by two patterns."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.datasets.base import UNASSIGNED, DatasetAdapter, make_video_id
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_video, list_files
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["Globs"]


@dataclass(frozen=True)
class Globs(DatasetAdapter):
    """Real and fake videos by patterns relative to the root; the entries' dataset is the root's name.

    Nobody knows pairs, subjects or an official split. It needs its patterns, so it is not registered.

    Attributes:
        real, fake: patterns in which `*` stays within a folder and `**` does not.
    """

    real: str
    fake: str
    name = "folder"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`."""
        from fsspec.utils import glob_translate  # late, as in `facemill.manifests.scanning.listing`

        if official:
            raise ManifestError("A folder has no official split: pass --split identity:80/10/10, or all-test.")
        listing = list_files(root)
        matches = [
            [path for path in listing.paths if re.fullmatch(glob_translate(pattern), path)]
            for pattern in (self.real, self.fake)
        ]
        for pattern, paths in zip((self.real, self.fake), matches, strict=True):
            if not paths:
                raise ManifestError(f"Nothing below {listing.root} matches {pattern!r}: '**' reaches into subfolders.")
        if both := sorted(set(matches[0]) & set(matches[1])):
            raise ManifestError(
                f"{both[0]} matches both patterns (of {len(both)} files): make them exclude each other."
            )
        report = ScanReport(listing.root, self.published)
        dataset = re.sub(r"[^A-Za-z0-9_-]", "_", PurePosixPath(listing.root).name)
        for label, paths in enumerate(matches):
            report.entries += [_entry(dataset, label, quality or "native", listing.root, path) for path in paths]
        known = {entry.path for entry in report.entries}
        report.unknown = [path for path in listing.paths if path not in known and is_video(path)]
        return report


def _entry(dataset: str, label: int, quality: str, root: str, path: str) -> VideoEntry:
    method = ("real", "fake")[label]
    stem = str(PurePosixPath(path).with_suffix(""))  # the whole path: a stem may come back in another folder
    return VideoEntry(
        video_id=make_video_id(dataset, method, quality, path, stem),
        dataset=dataset,
        method=method,
        label=label,
        quality=quality,
        split=UNASSIGNED,
        root=root,
        path=path,
    )
