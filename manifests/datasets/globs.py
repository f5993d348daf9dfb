"""Any folder, described by two patterns."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.datasets.base import DatasetAdapter, image_folder, plain_name
from facemill.manifests.datasets.csv_file import Row, make_entries
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_image, is_video, list_files, one_form
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["Globs"]


@dataclass(frozen=True)
class Globs(DatasetAdapter):
    """Real and fake videos by patterns relative to the root; the entries' dataset is the root's name.

    Pairs and subjects are unknown, and there is no official split; images of a folder stay together. It is not
    registered, since it needs its patterns.

    A pattern may match videos, images, which are videos of one frame each, or folders of images, which are image
    sequences; also in archives. An image that it matches is none of a sequence.

    Attributes:
        real, fake: patterns; `*` matches within a folder, `**` across folders.
        photos: only images count, and those of a folder need not stay together: they are no frames of one video.
    """

    real: str
    fake: str
    photos: bool = False
    name = "folder"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        from fsspec.utils import glob_translate  # late, as in `facemill.manifests.scanning.listing`

        if official:
            raise ManifestError("A folder has no official split: pass --split identity:80/10/10, or all-test.")
        listing = list_files(root, archives=True)
        folders = {posixpath.dirname(path) for path in listing.paths if is_image(path) and not self.photos} - {""}
        matches: list[list[str]] = []
        others: list[str] = []
        for pattern in (self.real, self.fake):
            rule = re.compile(glob_translate(one_form(pattern)))
            files = [path for path in listing.paths if rule.fullmatch(one_form(path))]
            others += [path for path in files if self.photos and not is_image(path)]
            files = [path for path in files if is_image(path) or not self.photos]
            single = {posixpath.dirname(path) for path in files}
            matches.append([*files, *sorted(path for path in folders - single if rule.fullmatch(one_form(path)))])
        for pattern, paths in zip((self.real, self.fake), matches, strict=True):
            if not paths:
                raise ManifestError(f"Nothing below {listing.root} matches {pattern!r}: '**' matches subfolders.")
        if both := sorted(set(matches[0]) & set(matches[1])):
            raise ManifestError(
                f"{both[0]} matches both patterns (of {len(both)} files): make them exclude each other."
            )
        report = ScanReport.of(listing, self.published)
        content = dict.fromkeys(folders, "frames")
        rows = [
            Row(path, label, ("real", "fake")[label], quality or "native", content=content.get(path))
            for label, paths in enumerate(matches)
            for path in paths
        ]
        report.entries = make_entries(rows, plain_name(PurePosixPath(listing.root).name), report)
        known = {entry.path for entry in report.entries}
        report.unknown = sorted({*others, *(path for path in listing.paths if path not in known and is_video(path))})
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The folder of an image: images of a folder are usually frames of one video."""
        return entry.video_id if self.photos else image_folder(entry.path)
