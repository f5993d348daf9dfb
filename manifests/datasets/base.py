"""What a dataset adapter is, and the rules that all adapters share."""

import hashlib
import inspect
import posixpath
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.scan_report import Count, ScanReport
from facemill.manifests.sequences import is_picture

__all__ = ["UNASSIGNED", "DatasetAdapter", "choose_quality", "make_video_id", "make_video_ids", "picture_folder"]

UNASSIGNED = ""
"""Split of an entry until it is given one."""


class DatasetAdapter(ABC):
    """Turns the names of a dataset's files into videos, pairs and splits.

    The class docstring states layout, names, pairs, splits and published counts; its first line is the
    dataset's in `facemill scan --help`.
    """

    name: ClassVar[str]
    link: ClassVar[str | None] = None
    """Page of its authors, where it is asked for."""
    published: ClassVar[Mapping[Count, int]] = {}
    """The authors' counts by dataset, method and split; see `Count` for what stands for all splits and all fakes."""
    lacks_val: ClassVar[bool] = False
    """There is train and test only: val is carved from train."""
    linked: ClassVar[bool] = False
    """Swaps tie nearly everybody together: a split by identity deals subjects, and leaves out fakes between splits."""

    @abstractmethod
    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """Find the dataset's videos below `root`, from names alone.

        Args:
            root: local folder or fsspec URL.
            quality: keep this quality only; None where the root holds one.
            official: assign the dataset's own split; otherwise entries come back `UNASSIGNED`.

        Raises:
            ManifestError: no such folder, an ambiguous quality, or no official split where it was asked for.
        """

    def family(self, entry: VideoEntry) -> str | None:
        """What keeps videos in one split although nobody knows their subjects, such as a folder; None for nothing."""
        return None

    @property
    def summary(self) -> str:
        """The dataset in a line."""
        return self.description.partition("\n")[0]

    @property
    def description(self) -> str:
        """Layout, names, pairs, splits and published counts: the class docstring."""
        return (inspect.getdoc(type(self)) or self.name).partition("\n\nAttributes:")[0]


def make_video_id(dataset: str, method: str, quality: str, path: str, stem: str | None = None) -> str:
    """The id of the video at `path` (relative to the root): `dataset-method-quality-stem`.

    Characters other than `A-Za-z0-9_-` become `_`; since two names might then coincide, such an id
    ends in eight hex digits of the path's SHA-256.
    """
    wanted = "-".join((dataset, method, quality, PurePosixPath(path).stem if stem is None else stem))
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
    if cleaned == wanted:
        return wanted
    return f"{cleaned}-{_digest(path)}"


def make_video_ids(dataset: str, names: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """An id for each (method, quality, path, stem), as `make_video_id`, and none twice for distinct paths.

    Where two would coincide (`a.mov` beside `a.mkv`, or a hyphen within a method), both end in eight hex digits of
    their path's SHA-256.
    """
    ids = [make_video_id(dataset, *name) for name in names]
    counts = Counter(ids)
    return [
        video_id if counts[video_id] == 1 else f"{video_id}-{_digest(path)}"
        for video_id, (_, _, path, _) in zip(ids, names, strict=True)
    ]


def picture_folder(path: str) -> str | None:
    """The folder of a picture; None of a video."""
    return posixpath.dirname(path) if is_picture(path) else None


def choose_quality(present: Iterable[str], asked: str | None) -> str:
    """The quality to scan, where a root may hold several.

    Raises:
        ManifestError: the one asked for is not there, or none was asked for and there are several.
    """
    known = sorted(set(present))
    if asked is not None and asked not in known:
        raise ManifestError(f"There are no videos of quality {asked} here: --quality can be {', '.join(known)}.")
    if asked is None and len(known) > 1:
        raise ManifestError(f"The root holds several qualities: choose one with --quality {'|'.join(known)}.")
    return asked or known[0]


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:8]
