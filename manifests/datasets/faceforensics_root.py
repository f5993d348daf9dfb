"""The root folder shared by FaceForensics++ and DeepFakeDetection, and the splits that datasets made of them follow."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from facemill import ManifestError
from facemill.manifests.datasets.base import UNASSIGNED
from facemill.manifests.records import SPLITS
from facemill.manifests.scanning.listing import Listing

__all__ = [
    "FOLDER",
    "QUALITY",
    "Masks",
    "PairsBySplit",
    "common_split",
    "is_mask",
    "plain_quality",
    "read_pairs",
    "splits_of_ids",
]

QUALITY = r"(?P<quality>raw|c0|c23|c40)"
"""The folder of a quality; `c0` is an old name for `raw`."""
FOLDER = r"(?P<folder>videos|images|frames)"
"""The folder of videos, or of folders of frames: `images` as the authors' script extracts them."""
PairsBySplit = dict[str, list[tuple[str, str]]]
"""Pairs of ids by split."""

_MASK = re.compile(
    rf"manipulated_sequences/(?P<method>\w+)/masks/(?:(?P<quality>\w+)/)?{FOLDER}/(?P<stem>\w+)(?:\.mp4)?"
)


def plain_quality(folder: str) -> str:
    """Return `raw` for `c0`, and other names unchanged."""
    return "raw" if folder == "c0" else folder


def is_mask(path: str) -> bool:
    """Whether this is the path of a mask video."""
    return _MASK.fullmatch(path) is not None


class Masks:
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


def read_pairs(listing: Listing, folders: Sequence[str] = ("", "splits/")) -> PairsBySplit:
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


def splits_of_ids(pairs: PairsBySplit) -> dict[str, str]:
    """The split of each id."""
    return {subject: split for split, listed in pairs.items() for pair in listed for subject in pair}


def common_split(subjects: Iterable[str], split_of: Mapping[str, str]) -> str:
    """The split of all these ids; `UNASSIGNED` if they are in none, or in two."""
    splits = {split_of.get(subject, UNASSIGNED) for subject in subjects}
    return splits.pop() if len(splits) == 1 else UNASSIGNED
