"""Celeb-DF++."""

import re
from typing import ClassVar

from facemill.manifests.datasets.celebdf2 import CelebDF2
from facemill.manifests.datasets.drafts import Draft

__all__ = ["CelebDFpp"]

_REAL = re.compile(r"(?P<folder>Celeb-real|You[Tt]ube-real)/(?:videos/)?(?P<name>[^/]+)\.mp4")
_FAKE = re.compile(
    r"Celeb-synthesis/(?P<family>FaceSwap|FaceReenact|TalkingFace)/(?P<method>[^/]+)/(?:videos/)?(?P<name>[^/]+)\.mp4"
)
_SWAP = re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<clip>\d+)")


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
        """As `CelebDF2.describe`."""
        if real := _REAL.fullmatch(path):
            return Draft(path, "real", real["name"], subjects=tuple(re.findall(r"id\d+", real["name"])[:1]))
        fake = _FAKE.fullmatch(path)
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
