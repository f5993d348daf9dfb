"""Face Forensics in the Wild."""

import re
from pathlib import PurePosixPath
from typing import ClassVar

from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.scanning.listing import Listing, list_videos
from facemill.manifests.scanning.scan_report import ALL_SPLITS, ScanReport

__all__ = ["FFIW"]

_METHOD = "FFIW"
_VIDEO = re.compile(r"(?P<kind>source|target)/(?P<split>train|val|test)/(?:videos/)?(?P<name>[^/]+)\.mp4")
_MASK = "target_mask"


class FFIW(DatasetAdapter):
    """FFIW10K (Zhou et al., CVPR 2021), videos of several people of whom some are forged.

    Layout: `source` (reals), `target` (fakes) and `target_mask`, each with `train` and `val`, with or without a folder
    `videos` below. The release of the test set has the same three folders.
    Pairs: the real of the same name and split. The README shows the folders only, and names no pairs; a build compares
    each fake with its original, and refuses it where they do not match.
    Masks: the video of the same name below `target_mask`.
    Splits: the folders. Subjects are unknown, so by identity a pair stays together.
    Published: 10,000 fakes.
    """

    name = "ffiw"
    link = "https://github.com/tfzhou/FFIW"
    terms = "Terms to Use form; on request"
    methods = "swaps of some of several people"
    published: ClassVar = {("ffiw", _METHOD, ALL_SPLITS): 10_000}

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`."""
        listing = list_videos(root)
        report = ScanReport.of(listing, self.published)
        drafts = [_draft(match, listing) for path in listing.paths if (match := _VIDEO.fullmatch(path))]
        enter(report, self.name, drafts, quality, official=official, listing=listing)
        report.unknown = [path for path in report.unknown if PurePosixPath(path).parts[0] != _MASK]
        return report


def _draft(match: re.Match[str], listing: Listing) -> Draft:
    path, split = match.string, match["split"]
    name = f"{split}-{match['name']}"
    if match["kind"] == "source":
        return Draft(path, "real", name, split=split)
    mask = path.replace("target/", f"{_MASK}/", 1)
    return Draft(
        path=path,
        method=_METHOD,
        name=name,
        split=split,
        original=name,
        original_path=path.replace("target/", "source/", 1),
        mask_path=mask if mask in listing.present else None,
    )
