"""Celeb-DF v1, v2 and ++."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from facemill import ManifestError
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["CelebDF1", "CelebDF2", "CelebDFpp"]

TEST_LIST = "List_of_testing_videos.txt"
_REAL = re.compile(r"Celeb-real/(?:videos/)?(?P<name>(?P<target>id\d+)_\d+)\.mp4")
_YOUTUBE = re.compile(r"You[Tt]ube-real/(?:videos/)?(?P<name>\d+)\.mp4")
_FAKE = re.compile(r"Celeb-synthesis/(?:videos/)?(?P<name>(?P<target>id\d+)_(?P<source>id\d+)_(?P<clip>\d+))\.mp4")
_FAKE_METHOD = "Celeb-synthesis"
_PLUS_REAL = re.compile(r"(?P<folder>Celeb-real|You[Tt]ube-real)/(?:videos/)?(?P<name>[^/]+)\.mp4")
_PLUS_FAKE = re.compile(
    r"Celeb-synthesis/(?P<family>FaceSwap|FaceReenact|TalkingFace)/(?P<method>[^/]+)/(?:videos/)?(?P<name>[^/]+)\.mp4"
)
_SWAP = re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<clip>\d+)")


class CelebDF2(DraftedDataset):
    """Celeb-DF v2 (Li et al., CVPR 2020).

    Layout: `Celeb-real`, `YouTube-real` (also `Youtube-real`) and `Celeb-synthesis`, with or without a folder
    `videos` in each.
    Names: `id<target>_<clip>.mp4`, `<number>.mp4` and `id<target>_id<source>_<clip>.mp4`.
    Pairs: a fake's original is `Celeb-real/id<target>_<clip>.mp4`. The subjects of YouTube-real are unknown.
    Splits: test is `List_of_testing_videos.txt`, lines of a label (1 is real and 0 is fake) and a path; val is
    carved from the rest, with other target subjects than train. Test shows nearly every celebrity, so with
    `--subjects-apart` hardly any fake is left to train on. By identity, subjects are assigned to splits, and fakes
    between two splits are left out.
    Published: 590 + 300 reals and 5639 fakes; 178 and 340 of them are test.
    """

    name = "celebdf2"
    link = "https://github.com/yuezunli/celeb-deepfakeforensics"
    terms = "Terms to Use Celeb-DF; on request by form"
    methods = "Celeb-synthesis, a swap"
    lacks_val = True
    linked = True
    published: ClassVar = {
        ("celebdf2", "real", "train"): 712,
        ("celebdf2", "real", "test"): 178,
        ("celebdf2", "Celeb-synthesis", "train"): 5299,
        ("celebdf2", "Celeb-synthesis", "test"): 340,
    }

    @staticmethod
    def describe(path: str) -> Draft | None:
        """The draft of a video; None for another file."""
        match = _REAL.fullmatch(path) or _YOUTUBE.fullmatch(path) or _FAKE.fullmatch(path)
        if match is None:
            return None
        parts = match.groupdict()
        target, source = parts.get("target"), parts.get("source")
        subjects = tuple(subject for subject in (target, source) if subject)
        if source is None:
            return Draft(path, "real", parts["name"], subjects=subjects)
        original = f"{target}_{parts['clip']}"
        real = f"{path.rpartition('/')[0].replace('Celeb-synthesis', 'Celeb-real')}/{original}.mp4"
        return Draft(path, _FAKE_METHOD, parts["name"], subjects=subjects, original=original, original_path=real)

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        found = [draft for path in listing.paths if (draft := self.describe(path))]
        return self._split(found, listing, report) if official and found else found

    def _split(self, drafts: Sequence[Draft], listing: Listing, report: ScanReport) -> list[Draft]:
        """The listed videos are test and the others train; listed videos that do not exist are reported missing.

        Raises:
            ManifestError: the list is missing, or a line is malformed.
        """
        listed, contradictions = set(), 0
        present = {(draft.method, draft.name) for draft in drafts}
        for number, line in enumerate(listing.read_split_list(TEST_LIST), start=1):
            if not line.strip():
                continue
            label, _, path = line.strip().partition(" ")
            video = self.describe(path.strip())
            if label not in ("0", "1") or video is None:
                raise ManifestError(f"Line {number} of {TEST_LIST} is not a label and a video path: restore the file.")
            contradictions += (label == "1") != (video.method == "real")
            listed.add((video.method, video.name))
            if (video.method, video.name) not in present:
                report.missing.append(path.strip())
        if contradictions:
            report.notes.append(f"{contradictions} labels of {TEST_LIST} contradict their folder; the folder is used.")
        return [replace(draft, split="test" if (draft.method, draft.name) in listed else "train") for draft in drafts]


class CelebDF1(CelebDF2):
    """Celeb-DF v1 (Li et al., 2019): the first 13 celebrities.

    Layout: as in v2, including names.
    Pairs: as in v2.
    Splits: `List_of_testing_videos.txt`, as in v2.
    Published: 158 + 250 reals and 795 fakes; 38 and 62 of them are test.
    """

    name = "celebdf1"
    published: ClassVar = {
        ("celebdf1", "real", "train"): 370,
        ("celebdf1", "real", "test"): 38,
        ("celebdf1", "Celeb-synthesis", "train"): 733,
        ("celebdf1", "Celeb-synthesis", "test"): 62,
    }


class CelebDFpp(CelebDF2):
    """Celeb-DF++ (Li et al., 2025), 22 methods of face swap, reenactment and talking faces.

    Layout: `Celeb-real`, `YouTube-real` and `Celeb-synthesis/{FaceSwap,FaceReenact,TalkingFace}/<method>`, with or
    without a folder `videos` in each.
    Names: those of Celeb-DF for reals and swaps, `id<target>_<clip>.mp4` and `id<target>_id<source>_<clip>.mp4`. The
    names of the two other families are not documented: all `id<number>` in them are taken for subjects.
    Pairs: the original of a swap is `Celeb-real/id<target>_<clip>.mp4`. Reenacted and talking faces move otherwise than
    any real video, and have no original.
    Splits: test is `List_of_testing_videos.txt`, lines of a label and a path; val is carved
    from the rest, with other target subjects than train. By identity, subjects are assigned to splits, and fakes
    between two splits are left out.
    Published: 590 + 300 reals, of which 178 are test, and of fakes those of test: 200 of each swap and reenactment, 300
    of each talking face.
    """

    name = "celebdfpp"
    link = "https://github.com/OUC-VAS/Celeb-DF-PP"
    terms = "Terms to Use Celeb-DF++; on request by form"
    methods = "22: 8 swaps, 7 reenactments, 7 talking faces"
    published: ClassVar = {("celebdfpp", "real", "train"): 712, ("celebdfpp", "real", "test"): 178}

    @staticmethod
    def describe(path: str) -> Draft | None:
        if real := _PLUS_REAL.fullmatch(path):
            return Draft(path, "real", real["name"], subjects=tuple(re.findall(r"id\d+", real["name"])[:1]))
        fake = _PLUS_FAKE.fullmatch(path)
        if fake is None:
            return None
        swap = _SWAP.fullmatch(fake["name"]) if fake["family"] == "FaceSwap" else None
        if swap is None:
            people = tuple(dict.fromkeys(re.findall(r"id\d+", fake["name"])))
            return Draft(path, fake["method"], fake["name"], subjects=people)
        original = f"{swap['target']}_{swap['clip']}"
        return Draft(
            path=path,
            method=fake["method"],
            name=fake["name"],
            subjects=(swap["target"], swap["source"]),
            original=original,
            original_path=f"Celeb-real/{original}.mp4",
        )
