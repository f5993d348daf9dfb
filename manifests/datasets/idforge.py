"""IDForge."""

import posixpath
import re
from collections.abc import Iterable

from facemill.manifests.datasets.base import UNASSIGNED
from facemill.manifests.datasets.drafts import Draft, DraftedDataset, matches
from facemill.manifests.records import SPLITS
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["IDForge"]

_VIDEO = re.compile(
    r"(?:.*/)?(?P<kind>pristine|(?:(?P<part>face|lip)_)?(?P<voice>audiomismatch|rvc|tts)(?:_textmismatch|_textgen)?)/"
    r"(?P<person>id\d+)/(?P<session>(?P=person)_\d+)/(?P<stem>[^/]+)\.mp4"
)
_SWAP = re.compile(r".*_(infoswap|roop|simswap)")
_AUDIO = {None: "real", "audiomismatch": "mismatched", "rvc": "fake", "tts": "fake"}


class IDForge(DraftedDataset):
    """IDForge v1 (Xu et al., ACM MM 2024), celebrities with forged faces, lips, voices and words.

    Layout: `main/<kind>/<person>/<session>/` and `{train,val,test}.csv`, in the root, in `main` or in `IDForge_v1`.
    The layout of `ref` is not known, and version 2 ships arrays of frames: neither is read.
    Names: any; one name is of several videos of different kinds. A swap's ends in its model, such as `_infoswap`.
    Labels: kinds `face_*` and `lip_*` are fakes, of which the method is the model, or `lip`. In `pristine`, and in
    `rvc_*` and `tts_*`, of which voice and words are forged, the picture is real.
    Pairs: a fake of the lips has the pristine original of its session and name, without `_fake` or `.mp3`. A swap puts
    the celebrity's face onto a stand-in, of whom there is no video.
    Attributes: `audio`, which is real, mismatched (another recording) or fake.
    Splits: the lists, of a path a line and no header. By identity, celebrities are assigned to splits.
    Published: 249,138 shots of 54 celebrities, with `ref`.
    """

    name = "idforge"
    link = "https://github.com/xyyandxyy/IDForge"
    terms = "on request"
    methods = "face swaps by roop, SimSwap and InfoSwap, lip-sync by Wav2Lip, voices by TorToiSe and RVC"

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        found = list(matches(listing, _VIDEO))
        split_of = _read_lists(listing) if official and found else {}
        report.missing = sorted(split_of.keys() - {_tail(match.string) for match in found})
        return (_draft(match, split_of.get(_tail(match.string), UNASSIGNED)) for match in found)


def _tail(path: str) -> str:
    """Kind, person, session and file."""
    return "/".join(path.split("/")[-4:])


def _read_lists(listing: Listing) -> dict[str, str]:
    """The split of each video of the lists, by the end of its path."""
    splits = {}
    for split in SPLITS:
        name = f"{split}.csv"
        path = next((path for path in listing.paths if posixpath.basename(path) == name), name)
        splits.update({_tail(line.strip()): split for line in listing.read_split_list(path) if line.strip()})
    return splits


def _draft(match: re.Match[str], split: str) -> Draft:
    kind, session, stem, part = (match[key] for key in ("kind", "session", "stem", "part"))
    swap = _SWAP.fullmatch(stem)
    method = {"face": swap[1] if swap else "face", "lip": "lip"}.get(part or "", "real")
    original = f"pristine-{session}-{stem.removesuffix('_fake').removesuffix('.mp3')}" if part == "lip" else None
    return Draft(
        path=match.string,
        method=method,
        name=f"{kind}-{session}-{stem}",
        split=split,
        subjects=(match["person"],),
        original=original,
        attributes=(f"audio={_AUDIO[match['voice']]}",),
    )
