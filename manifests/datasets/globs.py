"""Any folder, described by two patterns."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.datasets.base import DatasetAdapter, image_folder, plain_name
from facemill.manifests.datasets.csv_file import Row, make_entries
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_video, list_files, one_form
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["Globs"]


@dataclass(frozen=True)
class Globs(DatasetAdapter):
    """Real and fake videos by patterns relative to the root; the entries' dataset is the root's name.

    Pairs and subjects are unknown, and there is no official split; images of a folder stay together. It is not
    registered, since it needs its patterns.

    Attributes:
        real, fake: patterns; `*` matches within a folder, `**` across folders.
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
            [path for path in listing.paths if re.fullmatch(glob_translate(one_form(pattern)), one_form(path))]
            for pattern in (self.real, self.fake)
        ]
        for pattern, paths in zip((self.real, self.fake), matches, strict=True):
            if not paths:
                raise ManifestError(f"Nothing below {listing.root} matches {pattern!r}: '**' matches subfolders.")
        if both := sorted(set(matches[0]) & set(matches[1])):
            raise ManifestError(
                f"{both[0]} matches both patterns (of {len(both)} files): make them exclude each other."
            )
        report = ScanReport(listing.root, self.published)
        rows = [
            Row(path, label, ("real", "fake")[label], quality or "native")
            for label, paths in enumerate(matches)
            for path in paths
        ]
        report.entries = make_entries(rows, plain_name(PurePosixPath(listing.root).name), report)
        known = {entry.path for entry in report.entries}
        report.unknown = [path for path in listing.paths if path not in known and is_video(path)]
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The folder of an image: images of a folder are usually frames of one video."""
        return image_folder(entry.path)
