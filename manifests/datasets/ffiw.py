"""Face Forensics in the Wild."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_SPLITS, ScanReport

__all__ = ["FFIW"]

_METHOD = "FFIW"
_VIDEO = re.compile(r"(?P<kind>source|target)/(?P<split>train|val|test)/(?:videos/)?(?P<name>[^/]+)\.mp4")
_MASK = "target_mask"


class FFIW(DraftedDataset):
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

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return (_draft(match, listing) for match in matches(listing, _VIDEO))

    def is_expected(self, path: str) -> bool:
        return path.startswith(f"{_MASK}/")


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
