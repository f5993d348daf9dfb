"""FaceForensics++, with FaceShifter and DeepFakeDetection in the same root."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import ClassVar

from facemill import ManifestError
from manifests.datasets.base import UNASSIGNED, DatasetAdapter, choose_quality, make_video_id
from manifests.listing import Listing, is_video, list_files
from manifests.records import SPLITS, VideoEntry
from manifests.scan_report import ScanReport

__all__ = ["FaceForensics"]

_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_QUALITY = r"(?P<quality>raw|c0|c23|c40)"
_REALS = {
    "ffpp": re.compile(rf"original_sequences/youtube/{_QUALITY}/videos/(?P<target>\d{{3}})\.mp4"),
    "dfd": re.compile(rf"original_sequences/actors/{_QUALITY}/videos/(?P<target>\d\d)__(?P<scene>.+)\.mp4"),
}
_FAKES = {
    "ffpp": re.compile(
        rf"manipulated_sequences/(?P<method>{'|'.join(_METHODS)})/{_QUALITY}/videos/"
        r"(?P<target>\d{3})_(?P<source>\d{3})\.mp4"
    ),
    "dfd": re.compile(
        rf"manipulated_sequences/(?P<method>DeepFakeDetection)/{_QUALITY}/videos/"
        r"(?P<target>\d\d)_(?P<source>\d\d)__(?P<scene>.+)__\w{8}\.mp4"
    ),
}
_MASK = re.compile(r"manipulated_sequences/(?P<method>\w+)/masks/(?:(?P<quality>\w+)/)?videos/(?P<stem>\w+)\.mp4")


@dataclass(frozen=True, slots=True)
class _Video:
    """What a path says."""

    path: str
    dataset: str
    method: str
    quality: str
    target: str  # who is seen
    source: str | None  # who was swapped in; None for a real video
    scene: str | None  # DFD only

    @property
    def video_id(self) -> str:
        return make_video_id(self.dataset, self.method, self.quality, self.path)

    @property
    def original(self) -> str:
        """Path of the real video that this fake was made from, in the same quality."""
        folder = self.path.split("/")[2]  # the quality as it is spelt here: `raw` or `c0`
        name = self.target if self.scene is None else f"{self.target}__{self.scene}"
        return f"original_sequences/{'youtube' if self.dataset == 'ffpp' else 'actors'}/{folder}/videos/{name}.mp4"


class FaceForensics(DatasetAdapter):
    """FaceForensics++ (Roessler et al., ICCV 2019), FaceShifter and Google's DeepFakeDetection (`dfd`).

    Layout: `original_sequences/{youtube,actors}/<quality>/videos` and
    `manipulated_sequences/<method>/<quality>/videos`, qualities raw (or `c0`), c23 and c40.
    Names: `<target>.mp4` and `<target>_<source>.mp4`; in DFD `<actor>__<scene>.mp4` and
    `<target>_<source>__<scene>__<8 characters>.mp4`.
    Pairs: a fake's original is its target, the first id, in the same quality (and scene).
    Masks: `manipulated_sequences/<method>/masks[/<quality>]/videos`, one set for all qualities.
    Splits: `{train,val,test}.json` in the root or in `splits/`, lists of pairs of ids. DFD has none:
    all of it is test.
    Published: 1000 reals (720/140/140) and as many fakes a method; DFD 363 reals and 3068 fakes.
    """

    name = "ffpp"
    published: ClassVar = {
        **{
            ("ffpp", method, split): count
            for method in ("real", *_METHODS)
            for split, count in zip(SPLITS, (720, 140, 140), strict=True)
        },
        ("dfd", "real", "test"): 363,
        ("dfd", "DeepFakeDetection", "test"): 3068,
    }

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`."""
        listing = list_files(root)
        report = ScanReport(listing.root, self.published)
        videos = list(_videos(listing, report))
        if videos:
            chosen = choose_quality((video.quality for video in videos), quality)
            videos = _unique([video for video in videos if video.quality == chosen], report)
        report.entries = _entries(videos, _masks(listing), report)
        if official:
            _split(videos, listing, report)
        return report


def _videos(listing: Listing, report: ScanReport) -> Iterator[_Video]:
    for path in listing.paths:
        for dataset, pattern in [*_REALS.items(), *_FAKES.items()]:
            if match := pattern.fullmatch(path):
                parts = match.groupdict()
                yield _Video(
                    path,
                    dataset,
                    method=parts.get("method", "real"),
                    quality="raw" if parts["quality"] == "c0" else parts["quality"],
                    target=parts["target"],
                    source=parts.get("source"),
                    scene=parts.get("scene"),
                )
                break
        else:
            if is_video(path) and not _MASK.fullmatch(path):
                report.unknown.append(path)


def _unique(videos: list[_Video], report: ScanReport) -> list[_Video]:
    """One video an id: `c0` and `raw` may both be there."""
    kept: dict[str, _Video] = {}
    for video in videos:
        if kept.setdefault(video.video_id, video) is not video:
            report.duplicate.append(video.path)
    return [kept[video_id] for video_id in sorted(kept)]


def _masks(listing: Listing) -> dict[tuple[str, str], dict[str | None, str]]:
    """Paths of mask videos by method and stem, then by the quality whose folder they are in (None: no such level)."""
    masks: dict[tuple[str, str], dict[str | None, str]] = defaultdict(dict)
    for path in listing.paths:
        if match := _MASK.fullmatch(path):
            masks[match["method"], match["stem"]][match["quality"]] = path
    return masks


def _entries(
    videos: list[_Video], masks: dict[tuple[str, str], dict[str | None, str]], report: ScanReport
) -> list[VideoEntry]:
    reals = {_key(video): video.video_id for video in videos if video.source is None}
    entries = []
    for video in videos:
        source_id = None
        if video.source is not None:
            source_id = reals.get(_key(video))
            if source_id is None:
                report.unpaired.append(video.path)
                report.missing.append(video.original)
        sets = masks.get((video.method, PurePosixPath(video.path).stem), {})
        folder = next((name for name in (video.quality, None, *sets) if name in sets), None)
        entries.append(
            VideoEntry(
                video_id=video.video_id,
                dataset=video.dataset,
                method=video.method,
                label=int(video.source is not None),
                quality=video.quality,
                split=UNASSIGNED,
                root=report.root,
                path=video.path,
                source_id=source_id,
                subject_ids=tuple(f"{video.dataset}-{who}" for who in (video.target, video.source) if who),
                mask_path=sets.get(folder),
            )
        )
    report.missing = sorted(set(report.missing))
    return entries


def _key(video: _Video) -> tuple[str, str, str | None]:
    """Equal for a fake and its original."""
    return video.dataset, video.target, video.scene


def _split(videos: list[_Video], listing: Listing, report: ScanReport) -> None:
    """Give every entry its official split; what the split files do not settle is left out and reported."""
    datasets = {video.dataset for video in videos}
    split_of: dict[str, str] = {}
    if "ffpp" in datasets:
        pairs = _read_splits(listing)
        split_of = {person: split for split, listed in pairs.items() for pair in listed for person in pair}
        report.missing = sorted({*report.missing, *_not_there(pairs, videos)})
    if "dfd" in datasets:
        report.notes.append("dfd has no official split: all of it is test.")
    kept = []
    for video, entry in zip(videos, report.entries, strict=True):
        people = {video.target, video.source or video.target}
        splits = {"test"} if video.dataset == "dfd" else {split_of.get(person) for person in people}
        split = splits.pop()
        if splits or split is None:
            report.unsplit.append(video.path)
        else:
            kept.append(replace(entry, split=split))
    report.entries = kept


def _read_splits(listing: Listing) -> dict[str, list[tuple[str, str]]]:
    """Pairs of ids by split.

    Raises:
        ManifestError: a file is missing or malformed, or an id is in two of them.
    """
    folder = next((f for f in ("", "splits/") if all(f"{f}{split}.json" in listing.present for split in SPLITS)), None)
    if folder is None:
        raise ManifestError(
            f"{listing.root} lacks train.json, val.json and test.json: copy them from dataset/splits of "
            "https://github.com/ondyari/FaceForensics, or pass --split identity:80/10/10."
        )
    pairs = {split: _read_pairs(listing, f"{folder}{split}.json") for split in SPLITS}
    seen: dict[str, str] = {}
    for split, listed in pairs.items():
        for person in {person for pair in listed for person in pair}:
            if seen.setdefault(person, split) != split:
                raise ManifestError(f"Id {person} is in {seen[person]}.json and in {split}.json: restore the files.")
    return pairs


def _read_pairs(listing: Listing, path: str) -> list[tuple[str, str]]:
    try:
        return [(str(first), str(second)) for first, second in json.loads(listing.read_text(path))]
    except (ValueError, TypeError) as error:
        raise ManifestError(f'{path} is not a list of pairs such as ["071", "054"]: restore the file.') from error


def _not_there(pairs: dict[str, list[tuple[str, str]]], videos: list[_Video]) -> Iterator[str]:
    """Paths that the split files ask for, of every method that is there at all."""
    videos = [video for video in videos if video.dataset == "ffpp"]
    present = {video.path for video in videos}
    folders = {video.path.rpartition("/")[0] for video in videos}
    for first, second in (pair for listed in pairs.values() for pair in listed):
        for folder in folders:
            real = folder.startswith("original_sequences")
            names = (first, second) if real else (f"{first}_{second}", f"{second}_{first}")
            yield from {f"{folder}/{name}.mp4" for name in names} - present
