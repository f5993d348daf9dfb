"""FaceForensics++ and DeepFakeDetection, which share a root, and the splits that datasets made of them follow."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from facemill import ManifestError
from facemill.manifests.datasets.base import UNASSIGNED, DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, DraftedDataset, enter, matches
from facemill.manifests.records import SPLITS
from facemill.manifests.scanning.listing import Listing, list_videos
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["DeepFakeDetection", "FaceForensics", "common_split", "read_pairs", "splits_of_ids"]

_QUALITY = r"(?P<quality>raw|c0|c23|c40)"
"""The folder of a quality; `c0` is an old name for `raw`."""
_FOLDER = r"(?P<folder>videos|images|frames)"
"""The folder of videos, or of folders of frames: `images` as the authors' script extracts them."""
_PairsBySplit = dict[str, list[tuple[str, str]]]
"""Pairs of ids by split."""

_MASK = re.compile(
    rf"manipulated_sequences/(?P<method>\w+)/masks/(?:(?P<quality>\w+)/)?{_FOLDER}/(?P<stem>\w+)(?:\.mp4)?"
)
_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_REAL = re.compile(rf"original_sequences/youtube/{_QUALITY}/{_FOLDER}/(?P<target>\d{{3}})\.mp4")
_FAKE = re.compile(
    rf"manipulated_sequences/(?P<method>{'|'.join(_METHODS)})/{_QUALITY}/{_FOLDER}/"
    r"(?P<target>\d{3})_(?P<source>\d{3})\.mp4"
)
_DFD_PATH = re.compile(r"(original_sequences/actors|manipulated_sequences/DeepFakeDetection)/.*")
_DFD_METHOD = "DeepFakeDetection"
_DFD_REAL = re.compile(rf"original_sequences/actors/{_QUALITY}/{_FOLDER}/(?P<name>(?P<target>\d\d)__.+)\.mp4")
_DFD_FAKE = re.compile(
    rf"manipulated_sequences/{_DFD_METHOD}/{_QUALITY}/{_FOLDER}/"
    r"(?P<name>(?P<target>\d\d)_(?P<source>\d\d)__(?P<scene>.+)__\w{8})\.mp4"
)
_FFPP_PATH = re.compile(rf"original_sequences/youtube/.*|manipulated_sequences/(?!{_DFD_METHOD}/).*")


def _plain_quality(folder: str) -> str:
    """Return `raw` for `c0`, and other names unchanged."""
    return "raw" if folder == "c0" else folder


class _Masks:
    """The ground-truth mask videos: `manipulated_sequences/<method>/masks[/<quality>]/videos/<stem>.mp4`."""

    def __init__(self, listing: Listing) -> None:
        self._by_video: dict[tuple[str, str], dict[str | None, str]] = defaultdict(dict)
        for path in listing.paths:
            if match := _MASK.fullmatch(path):
                self._by_video[match["method"], match["stem"]][match["quality"]] = path

    def of(self, method: str, quality: str, stem: str) -> str | None:
        """The mask of a fake: one set serves all qualities, but a set of the same quality is preferred."""
        sets = self._by_video.get((method, stem), {})
        folder = next((name for name in (quality, None, *sets) if name in sets), None)
        return sets.get(folder)


class FaceForensics(DatasetAdapter):
    """FaceForensics++ (Roessler et al., ICCV 2019) with FaceShifter, in raw, c23 or c40.

    Layout: `original_sequences/youtube/<quality>/videos` and `manipulated_sequences/<method>/<quality>/videos`,
    qualities raw (or `c0`), c23 and c40; also `images` in place of `videos`, with a folder of frames in place of
    each video. DeepFakeDetection may share the root: see `dfd`.
    Names: `<target>.mp4` and `<target>_<source>.mp4`.
    Pairs: a fake's original is its target, the first id, in the same quality.
    Masks: `manipulated_sequences/<method>/masks[/<quality>]/videos`, one set for all qualities.
    Splits: `{train,val,test}.json` in the root or in `splits/`, lists of pairs of ids.
    Published: 1000 reals (720/140/140) and as many fakes per method.
    """

    name = "ffpp"
    link = "https://github.com/ondyari/FaceForensics"
    terms = "FaceForensics Terms of Use; a script, on request by form"
    size = "videos of all methods: raw 500 GB, c23 10 GB, c40 2 GB"
    methods = "Deepfakes, Face2Face, FaceSwap, NeuralTextures, FaceShifter"
    options = "--quality c23"
    published: ClassVar = {
        ("ffpp", method, split): count
        for method in ("real", *_METHODS)
        for split, count in zip(SPLITS, (720, 140, 140), strict=True)
    }

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        listing = list_videos(root)
        report = ScanReport.of(listing, self.published)
        found = list(matches(listing, _REAL, _FAKE))
        pairs = read_pairs(listing) if official and found else {}
        split_of = splits_of_ids(pairs)
        masks = _Masks(listing)
        drafts = [_draft(match, split_of, masks) for match in found]
        enter(report, self.name, drafts, quality, official=official, listing=listing)
        report.missing = sorted({*report.missing, *_not_there(pairs, report)})
        if dfd := [path for path in report.unknown if _DFD_PATH.fullmatch(path)]:
            report.notes.append(f"{len(dfd)} video files of DeepFakeDetection are in this root too: scan dfd for them.")
        report.unknown = [path for path in report.unknown if not (_DFD_PATH.fullmatch(path) or _MASK.fullmatch(path))]
        return report


def _draft(match: re.Match[str], split_of: dict[str, str], masks: _Masks) -> Draft:
    """Draft of a path; without a split if its ids are in none, or in two."""
    parts = match.groupdict()
    target, source = parts["target"], parts.get("source")
    quality = _plain_quality(parts["quality"])
    split = common_split((target, source or target), split_of)
    draft = Draft(match.string, "real", target, quality, split, subjects=(target,))
    if source is None:
        return draft
    method, name = parts["method"], f"{target}_{source}"
    return replace(
        draft,
        method=method,
        name=name,
        subjects=(target, source),
        original=target,
        original_path=f"original_sequences/youtube/{parts['quality']}/{parts['folder']}/{target}.mp4",
        mask_path=masks.of(method, quality, name),
    )


def _not_there(pairs: _PairsBySplit, report: ScanReport) -> Iterator[str]:
    """Paths that the split files imply but that do not exist, for every method with videos."""
    present = {entry.path for entry in report.entries}
    folders = {path.rpartition("/")[0] for path in present}
    for first, second in (pair for listed in pairs.values() for pair in listed):
        for folder in folders:
            real = folder.startswith("original_sequences")
            names = (first, second) if real else (f"{first}_{second}", f"{second}_{first}")
            yield from {f"{folder}/{name}.mp4" for name in names if f"{folder}/{name}" not in present} - present


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
    published: ClassVar = {("dfd", "real", "test"): 363, ("dfd", _DFD_METHOD, "test"): 3068}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        masks = _Masks(listing)
        return (_dfd_draft(match, masks) for match in matches(listing, _DFD_REAL, _DFD_FAKE))

    def is_expected(self, path: str) -> bool:
        return bool(_MASK.fullmatch(path) or _FFPP_PATH.fullmatch(path))


def _dfd_draft(match: re.Match[str], masks: _Masks) -> Draft:
    parts = match.groupdict()
    quality = _plain_quality(parts["quality"])
    target, source, name = parts["target"], parts.get("source"), parts["name"]
    if source is None:
        return Draft(match.string, "real", name, quality, "test", subjects=(target,))
    original = f"{target}__{parts['scene']}"
    return Draft(
        path=match.string,
        method=_DFD_METHOD,
        name=name,
        quality=quality,
        split="test",
        subjects=(target, source),
        original=original,
        original_path=f"original_sequences/actors/{parts['quality']}/{parts['folder']}/{original}.mp4",
        mask_path=masks.of(_DFD_METHOD, quality, name),
    )


def read_pairs(listing: Listing, folders: Sequence[str] = ("", "splits/")) -> _PairsBySplit:
    """Read the authors' lists of pairs, `{train,val,test}.json`, from the first of `folders` that has them.

    Raises:
        ManifestError: a file is missing or malformed, or an id is in two of them.
    """
    folder = next((f for f in folders if all(f"{f}{split}.json" in listing.present for split in SPLITS)), None)
    if folder is None:
        raise ManifestError(
            f"{listing.root} lacks train.json, val.json and test.json: copy them from dataset/splits of "
            "https://github.com/ondyari/FaceForensics, or pass --split identity:80/10/10."
        )
    pairs = {split: _read_list(listing, f"{folder}{split}.json") for split in SPLITS}
    seen: dict[str, str] = {}
    for split, listed in pairs.items():
        for subject in {subject for pair in listed for subject in pair}:
            if seen.setdefault(subject, split) != split:
                raise ManifestError(f"Id {subject} is in {seen[subject]}.json and in {split}.json: restore the files.")
    return pairs


def _read_list(listing: Listing, path: str) -> list[tuple[str, str]]:
    try:
        return [(str(first), str(second)) for first, second in json.loads(listing.read_text(path))]
    except (ValueError, TypeError) as error:
        raise ManifestError(f'{path} is not a list of pairs such as ["071", "054"]: restore the file.') from error


def splits_of_ids(pairs: _PairsBySplit) -> dict[str, str]:
    """The split of each id."""
    return {subject: split for split, listed in pairs.items() for pair in listed for subject in pair}


def common_split(subjects: Iterable[str], split_of: Mapping[str, str]) -> str:
    """The split of all these ids; `UNASSIGNED` if they are in none, or in two."""
    splits = {split_of.get(subject, UNASSIGNED) for subject in subjects}
    return splits.pop() if len(splits) == 1 else UNASSIGNED
