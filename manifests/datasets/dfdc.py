"""The DeepFake Detection Challenge dataset, and its preview."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, ClassVar

from facemill import ManifestError
from facemill.manifests.datasets.base import UNASSIGNED
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_FAKES, ALL_SPLITS, ScanReport

__all__ = ["DFDC", "DFDCPreview"]

_PART = re.compile(r"(?:.*/)?dfdc_train_part_(?P<part>\d+)/metadata\.json")
_PREVIEW_TABLE = "dataset.json"
_PREVIEW_REAL = re.compile(r"original_videos/(?:.*/)?(?P<target>\d+)_(?P<clip>\w+)\.mp4")
_PREVIEW_FAKE = re.compile(
    r"(?P<method>method_[AB])/(?:.*/)?(?P<source>\d+)_(?P<target>\d+)_(?P<letter>[A-Z]+)_(?P<take>\d+)\.mp4"
)
_METHODS = {"REAL": "real", "FAKE": "fake", "0": "real", "1": "fake"}


@dataclass(frozen=True)
class DFDC(DraftedDataset):
    """The DeepFake Detection Challenge dataset, DFDC (Dolhansky et al., 2020).

    Layout: `dfdc_train_part_<0..49>/metadata.json` beside the part's videos; a test set is any other folder
    with a `labels.csv` (`filename,label`, 1 is fake) or a `metadata.json`.
    Names: ten letters; `metadata.json` gives labels and the originals of fakes.
    Pairs: `original`, in the same part. The test set has no pairs.
    Splits: by part, 0-34 train, 35-39 val and 40-49 test; the test set is test too. Subjects are
    unknown, so a split by identity keeps the videos of a folder together.
    Published: 19154 reals and 100000 fakes in the training parts, 2500 of each in the test set.

    Attributes:
        parts: numbers of the training parts, by split.
    """

    parts: Mapping[str, range] = field(
        default_factory=lambda: {"train": range(35), "val": range(35, 40), "test": range(40, 50)}
    )
    name = "dfdc"
    link = "https://ai.meta.com/datasets/dfdc"
    terms = "Meta's licence agreement, accepted on its page"
    size = "training parts 470 GB"
    methods = "several, which the release does not name"
    published: ClassVar = {
        ("dfdc", "real", ALL_SPLITS): 19154,
        ("dfdc", "fake", ALL_SPLITS): 100_000,
        ("dfdc", "real", "test"): 2500,
        ("dfdc", "fake", "test"): 2500,
    }

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        labelled: dict[str, str] = {}  # tables of folders other than parts; labels.csv before metadata.json
        for path in listing.paths:
            if match := _PART.fullmatch(path):
                part = int(match["part"])
                split = next((split for split, parts in self.parts.items() if part in parts), UNASSIGNED)
                yield from _part(listing, path, part, split)
            elif PurePosixPath(path).name in ("labels.csv", "metadata.json"):
                labelled.setdefault(posixpath.dirname(path), path)
        for folder, table in labelled.items():
            prefix = "test" if len(labelled) == 1 else folder or "test"
            yield from (_test_labels if table.endswith(".csv") else _test_metadata)(listing, table, prefix)

    def family(self, entry: VideoEntry) -> str | None:
        """The folder: subjects are unknown, and the usual splits go by part too."""
        return posixpath.dirname(entry.path)


def _part(listing: Listing, metadata: str, part: int, split: str) -> Iterator[Draft]:
    folder = posixpath.dirname(metadata)
    for file, row in listing.read_json_table(metadata).items():
        method = _method(row.get("label"), file, metadata)
        original = row.get("original") if method != "real" else None
        yield Draft(
            path=posixpath.join(folder, file),
            method=method,
            name=_name(f"{part:02d}", file),
            split=split,
            original=None if original is None else _name(f"{part:02d}", original),
            original_path=None if original is None else posixpath.join(folder, original),
        )


def _test_metadata(listing: Listing, metadata: str, prefix: str) -> Iterator[Draft]:
    for file, row in listing.read_json_table(metadata).items():
        method = _method(row.get("label", row.get("is_fake")), file, metadata)
        split = UNASSIGNED if row.get("split") == "train" else "test"
        yield Draft(posixpath.join(posixpath.dirname(metadata), file), method, _name(prefix, file), split=split)


def _test_labels(listing: Listing, labels: str, prefix: str) -> Iterator[Draft]:
    for _, row in listing.read_csv_rows(labels, ("filename", "label")):
        path = posixpath.join(posixpath.dirname(labels), row["filename"])
        yield Draft(path, _method(row["label"], row["filename"], labels), _name(prefix, row["filename"]), split="test")


def _method(label: object, file: str, place: str) -> str:
    try:
        return _METHODS[str(label).upper()]
    except KeyError:
        raise ManifestError(
            f"{place} gives {file} the label {label!r}, which is neither REAL nor FAKE: restore it."
        ) from None


def _name(prefix: str, file: str) -> str:
    """Prefix the name: names are unique across parts as far as known, but not guaranteed to be."""
    return f"{prefix}_{PurePosixPath(file).stem}"


class DFDCPreview(DraftedDataset):
    """The preview of DFDC (Dolhansky et al., 2019), two forgery methods.

    Layout: `dataset.json`, keyed by path; `original_videos/<target>/`, `method_{A,B}/<target>/<target>_<letter>/`.
    Names: `<target>_<letter>_<take>.mp4` and `<swapped>_<target>_<letter>_<take>.mp4`.
    Pairs: a fake's original is `<target>_<letter>_<take>.mp4` below `original_videos`; some are not published.
    Splits: `set` of `dataset.json`, train or test; val is carved from train, with other target subjects.
    By identity, subjects are assigned to splits, and fakes between two splits are left out.
    Published: 1131 reals and 4119 fakes.
    """

    name = "dfdcp"
    link = "https://ai.meta.com/datasets/dfdc"
    terms = "Meta's licence agreement, accepted on its page"
    methods = "two swaps, A and B, which the release does not name"
    lacks_val = True
    linked = True
    published: ClassVar = {("dfdcp", "real", ALL_SPLITS): 1131, ("dfdcp", ALL_FAKES, ALL_SPLITS): 4119}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return (_preview_draft(path, row) for path, row in listing.read_json_table(_PREVIEW_TABLE).items())


def _preview_draft(path: str, row: Mapping[str, Any]) -> Draft:
    match = _PREVIEW_REAL.fullmatch(path) or _PREVIEW_FAKE.fullmatch(path)
    label, split = str(row.get("label")).lower(), row.get("set")
    if match is None or label != ("real" if match.re is _PREVIEW_REAL else "fake") or split not in ("train", "test"):
        raise ManifestError(
            f"{_PREVIEW_TABLE} gives {label!r} and {split!r} for {path}, not a video of this dataset: restore the file."
        )
    parts = match.groupdict()
    target, source = parts["target"], parts.get("source")
    if source is None:
        return Draft(path, "real", PurePosixPath(path).stem, split=split, subjects=(target,))
    original = f"{target}_{parts['letter']}_{parts['take']}"
    return Draft(
        path=path,
        method=parts["method"],
        name=PurePosixPath(path).stem,
        split=split,
        subjects=(target, source),
        original=original,
        original_path=f"original_videos/{target}/{original}.mp4",
    )
