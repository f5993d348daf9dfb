"""KoDF."""

import re
from collections.abc import Iterable
from typing import ClassVar

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_FAKES, ScanReport

__all__ = ["KoDF"]

_PERSON = r"[0-9a-f]{20}|\d{6}"
_REAL = re.compile(rf"(?:.*/)?original_videos/(?P<target>{_PERSON})/(?P<name>(?P=target)_\d+)\.mp4")
_FAKE = re.compile(
    r"(?:.*/)?synthesized_videos/(?P<method>audio-driven|dffs|dfl|fo|fsgan)/(?P<date>[^/]+)/"
    rf"(?P<target>{_PERSON})/(?P<name>(?P=target)_(?P<source>{_PERSON})_\d+_\d+)\.mp4"
)


class KoDF(DraftedDataset):
    """KoDF (Kwon et al., ICCV 2021), Korean speakers and fakes by six models.

    Layout: `original_videos/<person>/` and `synthesized_videos/<method>/<date>/<target>/`, in `kodf_release` or not.
    This is what loaders show; AI-Hub's own folders with Korean names are read by one loader only, from features, and
    the place of the adversarial clips is not known: they are reported as unknown.
    Names: `<person>_<number>.mp4` and `<target>_<source>_<code>_<number>.mp4`, persons of 20 hex digits or 6 decimal.
    The folder is the method (`fo` is FOMM; `audio-driven` is of two models), which the code repeats.
    Pairs: none; names tell the persons of a fake but not the video.
    Splits: none; official puts all videos into test. By identity, persons are assigned to splits, and fakes between
    two splits are left out.
    Published: 62,166 reals of 403 persons and 175,776 fakes.
    """

    name = "kodf"
    link = "https://deepbrainai-research.github.io/kodf/"
    methods = "swaps by FaceSwap, DeepFaceLab and FSGAN, FOMM, and talking faces by ATFHP and Wav2Lip"
    all_test = True
    linked = True
    published: ClassVar = {("kodf", "real", "test"): 62_166, ("kodf", ALL_FAKES, "test"): 175_776}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return map(_draft, matches(listing, _REAL, _FAKE))


def _draft(match: re.Match[str]) -> Draft:
    parts = match.groupdict()
    if "method" not in parts:
        return Draft(match.string, "real", parts["name"], split="test", subjects=(parts["target"],))
    persons = tuple(dict.fromkeys((parts["target"], parts["source"])))
    name = f"{parts['date']}-{parts['name']}"  # numbers may start anew on another day
    return Draft(match.string, parts["method"], name, split="test", subjects=persons)
