"""FaceForensics++, with FaceShifter in the same root."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter, matches
from facemill.manifests.datasets.faceforensics_root import (
    FOLDER,
    QUALITY,
    Masks,
    PairsBySplit,
    common_split,
    is_mask,
    plain_quality,
    read_pairs,
    splits_of_ids,
)
from facemill.manifests.records import SPLITS
from facemill.manifests.scanning.listing import list_videos
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["FaceForensics"]

_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_REAL = re.compile(rf"original_sequences/youtube/{QUALITY}/{FOLDER}/(?P<target>\d{{3}})\.mp4")
_FAKE = re.compile(
    rf"manipulated_sequences/(?P<method>{'|'.join(_METHODS)})/{QUALITY}/{FOLDER}/"
    r"(?P<target>\d{3})_(?P<source>\d{3})\.mp4"
)
_DFD = re.compile(r"(original_sequences/actors|manipulated_sequences/DeepFakeDetection)/.*")


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
        """As `DatasetAdapter.find`."""
        listing = list_videos(root)
        report = ScanReport.of(listing, self.published)
        found = list(matches(listing, _REAL, _FAKE))
        pairs = read_pairs(listing) if official and found else {}
        split_of = splits_of_ids(pairs)
        masks = Masks(listing)
        drafts = [_draft(match, split_of, masks) for match in found]
        enter(report, self.name, drafts, quality, official=official, listing=listing)
        report.missing = sorted({*report.missing, *_not_there(pairs, report)})
        dfd = [path for path in report.unknown if _DFD.fullmatch(path)]
        if dfd:
            report.notes.append(f"{len(dfd)} video files of DeepFakeDetection are in this root too: scan dfd for them.")
        report.unknown = [path for path in report.unknown if not _DFD.fullmatch(path) and not is_mask(path)]
        return report


def _draft(match: re.Match[str], split_of: dict[str, str], masks: Masks) -> Draft:
    """Draft of a path; without a split if its ids are in none, or in two."""
    parts = match.groupdict()
    target, source = parts["target"], parts.get("source")
    quality = plain_quality(parts["quality"])
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


def _not_there(pairs: PairsBySplit, report: ScanReport) -> Iterator[str]:
    """Paths that the split files imply but that do not exist, for every method with videos."""
    present = {entry.path for entry in report.entries}
    folders = {path.rpartition("/")[0] for path in present}
    for first, second in (pair for listed in pairs.values() for pair in listed):
        for folder in folders:
            real = folder.startswith("original_sequences")
            names = (first, second) if real else (f"{first}_{second}", f"{second}_{first}")
            yield from {f"{folder}/{name}.mp4" for name in names if f"{folder}/{name}" not in present} - present
