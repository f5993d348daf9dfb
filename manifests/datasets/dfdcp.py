"""The preview of the DeepFake Detection Challenge dataset."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from facemill import ManifestError
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_FAKES, ALL_SPLITS, ScanReport

__all__ = ["DFDCPreview"]

_TABLE = "dataset.json"
_REAL = re.compile(r"original_videos/(?:.*/)?(?P<target>\d+)_(?P<clip>\w+)\.mp4")
_FAKE = re.compile(
    r"(?P<method>method_[AB])/(?:.*/)?(?P<source>\d+)_(?P<target>\d+)_(?P<letter>[A-Z]+)_(?P<take>\d+)\.mp4"
)


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
        return (_draft(path, row) for path, row in listing.read_json_table(_TABLE).items())


def _draft(path: str, row: Mapping[str, Any]) -> Draft:
    match = _REAL.fullmatch(path) or _FAKE.fullmatch(path)
    label, split = str(row.get("label")).lower(), row.get("set")
    if match is None or label != ("real" if match.re is _REAL else "fake") or split not in ("train", "test"):
        raise ManifestError(
            f"{_TABLE} gives {label!r} and {split!r} for {path}, not a video of this dataset: restore the file."
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
