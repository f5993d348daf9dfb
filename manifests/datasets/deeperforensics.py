"""DeeperForensics-1.0."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.base import UNASSIGNED
from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.records import SPLITS
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_SPLITS, ScanReport

__all__ = ["DeeperForensics"]

_FAKE = re.compile(
    r"manipulated_videos/(?P<method>end_to_end(?:_\w+)?|reenact_postprocess)/"
    r"(?P<name>(?P<target>\d{3})_(?P<source>[MW]\d{3}))\.mp4"
)
_METHODS = (
    "end_to_end",
    "reenact_postprocess",
    *(f"end_to_end_level_{level}" for level in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{number}_distortions" for number in (2, 3, 4)),
)


class DeeperForensics(DraftedDataset):
    """DeeperForensics-1.0 (Jiang et al., CVPR 2020), swaps onto videos of FaceForensics++, also distorted.

    Layout: `manipulated_videos/<variant>` and `lists/splits`. The actors of `source_videos` are no reals of the same
    kind, say the authors (DeepfakeBench takes them so): they are left out.
    Names: `<target>_<actor>.mp4`; the variant is the method. Targets are named as FaceForensics++'s subjects.
    Pairs: the originals are FaceForensics++'s reals `<target>` in c23, which are not part of the release: see
    `scan --originals`. Distorted variants differ from them everywhere, so that their masks are marked as unreliable.
    Splits: `lists/splits/{train,val,test}.txt`, names for all variants. By identity, targets and actors are assigned
    to splits, and fakes between two splits are left out.
    Published: 1000 fakes of each of 11 variants, no reals.
    """

    name = "deeperforensics"
    link = "https://github.com/EndlessSora/DeeperForensics-1.0"
    terms = "its Terms of Use, non-commercial research; on request by form"
    size = "fakes 119 GB, sources 164 GB"
    methods = "DF-VAE, a swap: 2 undistorted and 9 distorted variants"
    linked = True
    originals: ClassVar = {"ffpp": "c23"}
    published: ClassVar = {("deeperforensics", method, ALL_SPLITS): 1000 for method in _METHODS}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        found = list(matches(listing, _FAKE))
        split_of = _read_splits(listing) if official and found else {}
        return (
            Draft(
                path=match.string,
                method=match["method"],
                name=match["name"],
                quality=self.originals["ffpp"],
                split=split_of.get(match["name"], UNASSIGNED),
                subjects=(match["target"], match["source"]),
                original=match["target"],
            )
            for match in found
        )

    def known_from(self, subject: str) -> str:
        return "ffpp" if subject.isdigit() else self.name

    def is_expected(self, path: str) -> bool:
        return path.startswith("source_videos/")


def _read_splits(listing: Listing) -> dict[str, str]:
    """The split of each name of the lists; raises ManifestError if one is missing."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        for line in listing.read_split_list(f"lists/splits/{split}.txt"):
            splits[line.strip().rpartition("/")[2].removesuffix(".mp4")] = split
    return splits
