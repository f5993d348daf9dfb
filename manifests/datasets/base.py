"""The dataset adapter interface, and the rules that all adapters share."""

import hashlib
import inspect
import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_image
from facemill.manifests.scanning.scan_report import Count, ScanReport

__all__ = ["UNASSIGNED", "DatasetAdapter", "choose_quality", "digest_of", "image_folder", "make_video_id", "plain_name"]

UNASSIGNED = ""
"""Split of an entry that has not been assigned one."""


class DatasetAdapter(ABC):
    """Derives videos, pairs and splits from the names of a dataset's files.

    The class docstring states layout, names, pairs, splits and published counts; its first line is shown in
    `facemill scan --help`.
    """

    name: ClassVar[str]
    link: ClassVar[str | None] = None
    """The authors' page for requesting the dataset."""
    terms: ClassVar[str | None] = None
    """Licence or agreement that the authors name, and how one gets the files; None if unknown."""
    size: ClassVar[str | None] = None
    """Size of the files by the authors' pages; None if unknown."""
    methods: ClassVar[str | None] = None
    """What the fakes are made with; None if unknown."""
    options: ClassVar[str] = ""
    """What `facemill scan` needs for it, beside name and folder."""
    published: ClassVar[Mapping[Count, int]] = {}
    """The authors' counts by dataset, method and split; see `ALL_SPLITS` and `ALL_FAKES` for totals."""
    lacks_val: ClassVar[bool] = False
    """The dataset has only train and test: val is carved from train."""
    all_test: ClassVar[bool] = False
    """The dataset has no official split: all of its videos are test."""
    linked: ClassVar[bool] = False
    """Swaps link nearly all subjects: a split by identity assigns subjects, and leaves out fakes between splits."""

    originals: ClassVar[Mapping[str, str]] = {}
    """Other datasets that hold originals of this one's fakes, with the quality that these were made from."""

    @abstractmethod
    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """Find the dataset's videos below `root`, from names alone.

        Args:
            root: local folder or fsspec URL.
            quality: keep this quality only; None if the root has one quality.
            official: assign the dataset's own split; otherwise entries come back `UNASSIGNED`.

        Raises:
            ManifestError: no such folder, an ambiguous quality, or no official split although requested.
        """

    def family(self, entry: VideoEntry) -> str | None:
        """A key, such as a folder, that keeps videos of unknown subjects in one split; None for no such key."""
        return None

    @property
    def summary(self) -> str:
        """One-line description of the dataset."""
        return self.description.partition("\n")[0]

    @property
    def description(self) -> str:
        """Layout, names, pairs, splits and published counts: the class docstring."""
        return (inspect.getdoc(type(self)) or self.name).partition("\n\nAttributes:")[0]

    @property
    def command(self) -> str:
        """The command that lists the dataset, with ROOT for its folder, ORIGINALS for its fakes' originals."""
        more = [self.options] if self.options else []
        if self.originals:
            more.append("--originals ORIGINALS")
        return " ".join(["facemill scan", self.name, "ROOT", *more, "--out videos.parquet"])

    def topic(self, name: str) -> str | None:
        """First sentence of a topic of the description, such as `Pairs`; None if it has none."""
        found = re.search(rf"^{name}: (.+?)(?=^\w+: |^$|\Z)", self.description, re.MULTILINE | re.DOTALL)
        return found and re.split(r"\.(?=\s|$)", " ".join(found[1].split()))[0]


def make_video_id(dataset: str, method: str, quality: str, path: str, stem: str | None = None) -> str:
    """Id of the video at `path` (relative to the root): `dataset-method-quality-stem`.

    Characters other than `A-Za-z0-9_-` become `_`; since two names might then coincide, such an id
    ends in eight hex digits of the path's SHA-256.
    """
    wanted = "-".join((dataset, method, quality, PurePosixPath(path).stem if stem is None else stem))
    cleaned = plain_name(wanted)
    return wanted if cleaned == wanted else f"{cleaned}-{digest_of(path)}"


def plain_name(text: str) -> str:
    """The text with `_` for characters other than `A-Za-z0-9_-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def image_folder(path: str) -> str | None:
    """The folder of an image; None for a video."""
    return posixpath.dirname(path) if is_image(path) else None


def choose_quality(present: Iterable[str], asked: str | None) -> str:
    """Choose the quality to scan; a root may have several.

    Raises:
        ManifestError: the requested one does not exist, or none is requested and there are several.
    """
    known = sorted(set(present))
    if asked is not None and asked not in known:
        raise ManifestError(f"There are no videos of quality {asked} here: --quality can be {', '.join(known)}.")
    if asked is None and len(known) > 1:
        raise ManifestError(f"The root has several qualities: choose one with --quality {'|'.join(known)}.")
    return asked or known[0]


def digest_of(path: str) -> str:
    """Eight hex digits of a path's SHA-256."""
    return hashlib.sha256(path.encode()).hexdigest()[:8]
