"""TalkingHeadBench."""

import re
from collections.abc import Iterable

from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["TalkingHeadBench"]

_FAKE = re.compile(r"fake/(?P<method>[^/]+)/(?P<split>train|val|test)/(?P<name>(?P<image>[^/]+?)--[^/]+)\.mp4")
_ADDED = re.compile(r"fake/additional_dataset/(?P<method>[^/]+)/(?P<name>[^/]+)\.mp4")


class TalkingHeadBench(DraftedDataset):
    """TalkingHeadBench (Xiong et al., 2025), still images of FFHQ that generators make talk.

    Layout: `fake/<generator>/{train,val,test}`, and `fake/additional_dataset/{MAGI-1,Hallo3}`, which is test only.
    `audio` and the lists of reals (`real` or `true`) are not read: reals are videos of FaceForensics++ (raw) and
    CelebV-HQ, which are not part of the release.
    Names: `<image>--<driver>--<generator>.mp4`, in the additional set anything. A driver may begin with `-`.
    Labels: all are fake; the folder is the method.
    Pairs: none, since no video of the person exists. Who drives is not seen, and no subject.
    Splits: by folder. By identity, fakes of one image stay together.
    Published: no counts by files; others count 2994 fakes.
    """

    name = "talkingheadbench"
    link = "https://huggingface.co/datasets/luchaoqi/TalkingHeadBench"
    methods = "generators of talking heads"

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return map(_draft, matches(listing, _FAKE, _ADDED))


def _draft(match: re.Match[str]) -> Draft:
    parts = match.groupdict()
    image = parts.get("image")
    subjects = () if image is None else (image,)
    return Draft(match.string, parts["method"], parts["name"], split=parts.get("split", "test"), subjects=subjects)
