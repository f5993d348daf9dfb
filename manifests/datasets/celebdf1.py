"""Celeb-DF v1."""

from typing import ClassVar

from facemill.manifests.datasets.celebdf2 import CelebDF2

__all__ = ["CelebDF1"]


class CelebDF1(CelebDF2):
    """Celeb-DF v1 (Li et al., 2019): the first 13 celebrities.

    Layout: as in v2, including names.
    Pairs: as in v2.
    Splits: `List_of_testing_videos.txt`, as in v2.
    Published: 158 + 250 reals and 795 fakes; 38 and 62 of them are test.
    """

    name = "celebdf1"
    link = "https://github.com/yuezunli/celeb-deepfakeforensics"
    terms = "Terms to Use Celeb-DF; on request by form"
    methods = "Celeb-synthesis, a swap"
    published: ClassVar = {
        ("celebdf1", "real", "train"): 370,
        ("celebdf1", "real", "test"): 38,
        ("celebdf1", "Celeb-synthesis", "train"): 733,
        ("celebdf1", "Celeb-synthesis", "test"): 62,
    }
