"""UADFV."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["UADFV"]

_METHOD = "FakeApp"
_VIDEO = re.compile(r"(?:real/(?:.*/)?(?P<real>\d+)|fake/(?:.*/)?(?P<fake>(?P<original>\d+)_fake))\.mp4")


class UADFV(DraftedDataset):
    """UADFV (Yang et al., ICASSP 2019), swaps by FakeApp.

    Layout: `real` and `fake`; DeepfakeBench reads the same two folders.
    Names: `<number>.mp4` and `<number>_fake.mp4`.
    Pairs: a fake's original is the real video of its number.
    Splits: none; official puts all videos into test. Subjects are unknown, so by identity a pair stays together.
    Published: 49 reals and 49 fakes.
    """

    name = "uadfv"
    link = "https://arxiv.org/abs/1811.00661"
    methods = "FakeApp, a swap"
    all_test = True
    published: ClassVar = {("uadfv", "real", "test"): 49, ("uadfv", _METHOD, "test"): 49}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return map(_draft, matches(listing, _VIDEO))


def _draft(match: re.Match[str]) -> Draft:
    path, original = match.string, match["original"]
    if original is None:
        return Draft(path, "real", match["real"], split="test")
    real = path.replace("fake/", "real/", 1).replace("_fake.mp4", ".mp4")
    return Draft(path, _METHOD, match["fake"], split="test", original=original, original_path=real)
