"""DFDM."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["DFDM"]

_METHODS = {
    "1original": "Faceswap",
    "2lightweight": "Lightweight",
    "3iae": "IAE",
    "4dfaker": "Dfaker",
    "5dfl-h128": "DFL-H128",
}
_QUALITIES = {"0": "raw", "10": "c10", "23": "c23"}
_FAKE = re.compile(
    r"(?:.*/)?(?:DFDM_)?crf(?P<crf>0|10|23)/(?:.*/)?"
    rf"(?P<target>id\d+)_(?P<source>id\d+)_(?P<clip>\d+)_(?P<model>{'|'.join(_METHODS)})\.mp4"
)


class DFDM(DraftedDataset):
    """DFDM (Jia et al., ICIP 2022), swaps on Celeb-DF by five models of Faceswap and DeepFaceLab.

    Layout: `DFDM_crf0`, `DFDM_crf10` and `DFDM_crf23`, each with a folder a model, whose names no source shows: they
    may be any.
    Names: `<target>_<source>_<clip>_<model>.mp4`, such as `id28_id20_0008_4dfaker.mp4`; the last part is the method.
    Subjects are named as Celeb-DF v2's.
    Qualities: raw (crf0, without loss), c10 and c23.
    Pairs: the originals are Celeb-DF v2's `Celeb-real/<target>_<clip>.mp4`, which are not part of the release: see
    `scan --originals`.
    Splits: none; official puts all videos into test. By identity, the celebrities are assigned to splits, and fakes
    between two splits are left out.
    Published: 430 fakes of each model and quality, no reals.
    """

    name = "dfdm"
    link = "https://github.com/shanface33/Deepfake_Model_Attribution"
    terms = "on request"
    methods = "swaps by five autoencoders of Faceswap and DeepFaceLab"
    all_test = True
    linked = True
    originals: ClassVar = {"celebdf2": "native"}
    published: ClassVar = {("dfdm", method, "test"): 430 for method in _METHODS.values()}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return map(_draft, matches(listing, _FAKE))

    def known_from(self, subject: str) -> str:
        return "celebdf2"


def _draft(match: re.Match[str]) -> Draft:
    target, source, clip = match["target"], match["source"], match["clip"]
    return Draft(
        path=match.string,
        method=_METHODS[match["model"]],
        name=f"{target}_{source}_{clip}",
        quality=_QUALITIES[match["crf"]],
        split="test",
        subjects=(target, source),
        original=f"{target}_{clip}",
    )
