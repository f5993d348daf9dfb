"""DF40."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar

from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.datasets.faceforensics import common_split, read_pairs, splits_of_ids
from facemill.manifests.records import SPLITS, VideoEntry
from facemill.manifests.scanning.listing import Listing, is_image, is_video, list_files
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.sequences import is_sequence

__all__ = ["DF40"]

_SWAPS = "blendface deepfacelab e4s facedancer faceswap fsgan inswap mobileswap simswap uniface"
_OTHERS = (
    "danet facevid2vid fomm heygen hyperreenact lia mcnet MRAA one_shot_free pirender sadtalker tpsm wav2lip "
    "CollabDiff ddim DiT e4e MidJourney pixart RDDM sd2.1 SiT stargan starganv2 styleclip StyleGAN2 StyleGAN3 "
    "StyleGANXL VQGAN whichfaceisreal"
)
_METHODS = {name.lower(): name for name in f"{_SWAPS} {_OTHERS}".split()}
_PLACE = re.compile(
    rf"(?:(?P<above>.*?)/)?(?P<method>{'|'.join(map(re.escape, _METHODS))})"
    r"(?:/(?P=method)(?:_new)?)?(?:/(?P<domain>ff|cdf|fake|real)(?:_mp4)?)?"
    r"(?:/(?P<part>fake|real|(?:fake_from_)?(?:celeb|youtube)-real))?(?:/(?:frames|inversions))?(?:/(?P<video>[^/]+))?",
    re.IGNORECASE,
)
"""A video's folder or its path without suffix; of images that are alone, their folder."""
_REAL = re.compile(
    r"(?:.*/)?(?:original_sequences/youtube/c23|(?P<celeb>Celeb-DF-v2)/(?:Celeb|You[Tt]ube)-real)/frames/(?P<video>\w+)"
)
_NUMBERS = re.compile(r"(\d{3}|\d{5})(?:_(\d{3}))?")
"""Of FaceForensics++ three digits, of Celeb-DF's YouTube-real five."""
_CELEB = re.compile(r"(id\d+)(?:_(id\d+))?_(\d+)")
_LISTS = ("", "splits/", "FaceForensics++/", "FaceForensics++/splits/")


class DF40(DatasetAdapter):
    """DF40 (Yan et al., NeurIPS Datasets and Benchmarks 2024), 40 methods on FaceForensics++ and Celeb-DF v2.

    Layout: one folder a method, below `DF40_train` or `train`, below `DF40` or `test`, or anywhere. Train has
    `<method>/frames/<video>` or `<method>/<video>`; test has `<method>/{ff,cdf}/frames/<video>`, synthesized faces
    without `frames` or below `cdf/{Fake_from_,}{Celeb,YouTube}-real`, and methods with their own reals
    `<method>/{fake,real}/[frames/]<video>`. A folder that the archive repeats (`heygen/heygen_new`) is read too.
    `uniface.zip` of train has no folder of the method: unpack it into `uniface`. Spelling differs between README and
    archives (`PixArt`, `pixart`): case is ignored. Landmarks and masks beside are not read.
    Videos: a folder of images is a sequence of finished face crops. Images that lie alone in `fake`, `real` or
    `inversions` (MidJourney, StarGAN and others) are each a video of one frame, in which faces are detected.
    Reals: the authors' crops `original_sequences/youtube/c23/frames` and `Celeb-DF-v2/{Celeb,YouTube}-real/frames`,
    and those of the methods; reals cropped in another way would give away the label.
    Names: `<target>_<source>` and `id<target>_id<source>_<clip>`, as most public loaders say; one says the reverse.
    Subjects are named as FaceForensics++'s and Celeb-DF v2's, so that an overlap with
    these is reported. Those of other names are unknown: images of a folder stay together.
    Pairs: none of crops, each of which is aligned anew. Swaps that were downloaded as whole videos have the originals
    `<target>` and `id<target>_<clip>`, of FaceForensics++ and Celeb-DF v2: see `scan --originals`.
    Splits: by folder, where only train lacks `ff`, `cdf`, `fake` and `real`; Celeb-DF is test, and val is carved from
    train. Test folders repeat videos of train (e4s) and train has ids of test (SimSwap, InSwap): where
    FaceForensics++'s `{train,val,test}.json` lie in the root, in `splits` or in `FaceForensics++`, they decide about
    videos of one split. Reals of FaceForensics++ need them.
    Published: no counts by video.
    """

    name = "df40"
    link = "https://github.com/YZY-stack/DF40"
    terms = "CC BY-NC 4.0; on request"
    methods = "10 face swaps, 13 reenactments, 12 syntheses and 5 edits of faces"
    lacks_val = True
    originals: ClassVar = {"ffpp": "c23", "celebdf2": "native"}

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        listing = list_files(root, archives=True)
        report = ScanReport.of(listing, self.published)
        drafts = list(_drafts(listing, report))
        if official:
            drafts = _follow_lists(drafts, listing, report)
        enter(report, self.name, drafts, quality, official=official, known_from=_known_from)
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The folder of an image of unknown subject."""
        return None if entry.subject_ids or not _is_picture(entry.path) else posixpath.dirname(entry.path)


def _is_picture(path: str) -> bool:
    return is_image(path) or path.lower().endswith(".gif")  # of one picture each, in MidJourney


def _drafts(listing: Listing, report: ScanReport) -> Iterator[Draft]:
    """Drafts of all videos, and of images that are alone."""
    inside: dict[str, list[str]] = defaultdict(list)
    for path in listing.paths:
        if _is_picture(path):
            inside[posixpath.dirname(path)].append(path)
        elif is_video(path):
            match = _PLACE.fullmatch(str(PurePosixPath(path).with_suffix("")))
            if match is None or match["video"] is None:
                report.unknown.append(path)
            else:
                yield _video(_draft(path, match, match["video"]))
    for folder, images in inside.items():
        if real := _REAL.fullmatch(folder):
            name = f"{'cdf' if real['celeb'] else 'ff'}-{real['video']}"
            yield Draft(folder, "real", name, split="test", subjects=_subjects(real["video"]), content="crops")
        elif (match := _PLACE.fullmatch(folder)) and match["video"] and is_sequence(folder):
            yield replace(_draft(folder, match, match["video"]), content="crops")
        elif match and match["domain"] and not match["video"]:
            yield from (_draft(path, match, PurePosixPath(path).stem) for path in images)
        elif not {"landmarks", "masks"} & set(folder.split("/")):
            report.unknown.append(folder)


def _draft(path: str, match: re.Match[str], video: str) -> Draft:
    domain, part = ((match[key] or "").lower() for key in ("domain", "part"))
    above = {name.removeprefix("df40_") for name in (match["above"] or "").lower().split("/")}
    split = "test" if "test" in above or (domain and "train" not in above) else "train"
    method = _METHODS[match["method"].lower()]
    is_real = domain == "real"
    where = (method if is_real else "", domain or "ff", part.removeprefix("fake_from_"), video)
    subjects = () if domain in ("fake", "real") else _subjects(video)
    return Draft(path, "real" if is_real else method, "-".join(filter(None, where)), split=split, subjects=subjects)


def _subjects(video: str) -> tuple[str, ...]:
    match = _NUMBERS.fullmatch(video) or _CELEB.fullmatch(video)
    return () if match is None else tuple(subject for subject in match.groups()[:2] if subject)


def _video(draft: Draft) -> Draft:
    """The draft with the name of its original, if it is a swap of faces in a whole video."""
    celeb = _CELEB.fullmatch(PurePosixPath(draft.path).stem)
    if draft.method not in _SWAPS.split() or len(draft.subjects) != 2:
        return draft
    target = draft.subjects[0]
    return replace(draft, original=target if celeb is None else f"{target}_{celeb[3]}")


def _known_from(subject: str) -> str:
    return "ffpp" if len(subject) == 3 and subject.isdigit() else "celebdf2"


def _follow_lists(drafts: list[Draft], listing: Listing, report: ScanReport) -> list[Draft]:
    """Drafts of FaceForensics++'s videos with the split of its lists, if there are any; others as they are.

    Raises:
        ManifestError: there are no lists although reals of FaceForensics++ need them, or they are malformed.
    """
    listed = any(f"{folder}{SPLITS[0]}.json" in listing.present for folder in _LISTS)
    if not listed and not any(map(_is_ff_real, drafts)):
        return drafts
    split_of = splits_of_ids(read_pairs(listing, _LISTS))
    followed, moved = [], 0
    for draft in drafts:
        split = common_split(draft.subjects, split_of)
        if not _is_ff_real(draft):
            split = split or draft.split
            moved += split != draft.split
        followed.append(replace(draft, split=split))
    if moved:
        report.notes.append(f"{moved} fakes are in another split by FaceForensics++'s lists than by their folder.")
    return followed


def _is_ff_real(draft: Draft) -> bool:
    return draft.method == "real" and draft.name.startswith("ff-")
