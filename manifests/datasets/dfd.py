"""DeepFakeDetection, in the root of FaceForensics++."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.datasets.faceforensics_root import FOLDER, QUALITY, Masks, is_mask, plain_quality
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["DeepFakeDetection"]

_METHOD = "DeepFakeDetection"
_REAL = re.compile(rf"original_sequences/actors/{QUALITY}/{FOLDER}/(?P<name>(?P<target>\d\d)__.+)\.mp4")
_FAKE = re.compile(
    rf"manipulated_sequences/{_METHOD}/{QUALITY}/{FOLDER}/"
    r"(?P<name>(?P<target>\d\d)_(?P<source>\d\d)__(?P<scene>.+)__\w{8})\.mp4"
)
_FFPP = re.compile(rf"original_sequences/youtube/.*|manipulated_sequences/(?!{_METHOD}/).*")


class DeepFakeDetection(DraftedDataset):
    """DeepFakeDetection, DFD (Google and Jigsaw, 2019), in raw, c23 or c40.

    Layout: `original_sequences/actors/<quality>/videos` and
    `manipulated_sequences/DeepFakeDetection/<quality>/videos`; FaceForensics++ may share the root: see `ffpp`.
    Names: `<actor>__<scene>.mp4` and `<target>_<source>__<scene>__<8 characters>.mp4`.
    Pairs: a fake's original is `<target>__<scene>`, in the same quality.
    Masks: `manipulated_sequences/DeepFakeDetection/masks[/<quality>]/videos`.
    Splits: none; official puts all videos into test. By identity, the 28 actors are assigned to splits, and fakes
    between two splits are left out.
    Published: 363 reals and 3068 fakes.
    """

    name = "dfd"
    link = "https://github.com/ondyari/FaceForensics"
    terms = "FaceForensics Terms of Use; by the script of FaceForensics++"
    size = "fakes and originals: raw 1.6 TB + 200 GB, c23 22 + 3 GB, c40 3 + 0.4 GB"
    methods = "DeepFakeDetection, swaps between paid actors"
    options = "--quality c23"
    all_test = True
    linked = True
    published: ClassVar = {("dfd", "real", "test"): 363, ("dfd", _METHOD, "test"): 3068}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        masks = Masks(listing)
        return (_draft(match, masks) for match in matches(listing, _REAL, _FAKE))

    def is_expected(self, path: str) -> bool:
        return is_mask(path) or _FFPP.fullmatch(path) is not None


def _draft(match: re.Match[str], masks: Masks) -> Draft:
    parts = match.groupdict()
    quality = plain_quality(parts["quality"])
    target, source, name = parts["target"], parts.get("source"), parts["name"]
    if source is None:
        return Draft(match.string, "real", name, quality, "test", subjects=(target,))
    original = f"{target}__{parts['scene']}"
    return Draft(
        path=match.string,
        method=_METHOD,
        name=name,
        quality=quality,
        split="test",
        subjects=(target, source),
        original=original,
        original_path=f"original_sequences/actors/{parts['quality']}/{parts['folder']}/{original}.mp4",
        mask_path=masks.of(_METHOD, quality, name),
    )
