"""Any corpus described by a table."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from facemill import ManifestError
from facemill.manifests.archives import split_archive
from facemill.manifests.datasets.base import (
    UNASSIGNED,
    DatasetAdapter,
    choose_quality,
    digest_of,
    image_folder,
    make_video_id,
    plain_name,
)
from facemill.manifests.records import SPLITS, VideoEntry
from facemill.manifests.scanning.listing import Listing, is_image, is_video, list_folders_of, one_form
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.scanning.splits import split_named
from facemill.manifests.sequences import is_sequence
from facemill.manifests.tables import read_table
from facemill.manifests.urls import is_url

__all__ = ["CsvFile", "Row", "make_entries"]

_COLUMNS = ("path", "label", "method", "source", "split", "subject", "quality", "mask", "fake_periods", "content")
_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)")
_LABELS = dict.fromkeys(("0", "0.0", "false", "real", "original", "pristine"), 0)
_LABELS |= dict.fromkeys(("1", "1.0", "true", "fake", "forged", "manipulated"), 1)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; `path`, `mask` and `source_path` are relative to the root, `source` may be a stem."""

    path: str
    label: int
    method: str
    quality: str
    split: str = UNASSIGNED
    source: str | None = None
    source_path: str | None = None
    subjects: tuple[str, ...] = ()
    mask: str | None = None
    fake_periods: tuple[tuple[float, float], ...] | None = None
    attributes: tuple[str, ...] = ()
    content: str | None = None


@dataclass(frozen=True)
class CsvFile(DatasetAdapter):
    """Any corpus: a CSV or Parquet file with a row per video; the entries' dataset is the file's stem.

    Layout: columns `path` and `label` (0/1 or real/fake), and optionally `method` (default `fake`),
    `source`, `split`, `subject` (several separated by `;` or `|`), `quality` (default `native`),
    `mask`, `fake_periods`, the seconds between which a fake is forged (`0.5-1.2; 3-4.5`), and `content`. Other
    columns are attributes of the samples. Paths are absolute, or relative to the table's folder or to `folder`, of
    videos, images, folders of images, or in a zip or tar (`part.zip/a/b.mp4`); only their folders are listed.
    Images: `content` is `frames` (default) or `crops`.
    Pairs: `source` is the path or the stem of the original, in the same quality.
    Splits: the `split` column. By identity, by `subject` and `source`; images of a folder stay together.
    Published: nothing.

    Attributes:
        folder: where the videos are, as a local folder or fsspec URL; None for the table's folder.
    """

    folder: str | None = None
    name = "csv"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`; `root` is the table."""
        lines = read_table(root, _COLUMNS, {"path", "label"}, others=True)
        base = self.folder or (root.rpartition("/")[0] if is_url(root) else str(Path(root).parent))
        base = base if is_url(base) else os.path.abspath(Path(base).expanduser())  # noqa: PTH100, without `..` too
        paths = _TablePaths(base, [path for line in lines for path in (line["path"], line["mask"]) if path])
        rows = [_parse(line, number, paths) for number, line in enumerate(lines, start=1)]
        if official and (without := [number for number, row in enumerate(rows, start=1) if row.split not in SPLITS]):
            raise ManifestError(
                f"Row {without[0]} of {root} (and {len(without) - 1} more) has no split of {', '.join(SPLITS)}: "
                "fill in a split column, or pass --split identity:80/10/10."
            )
        listing = list_folders_of(paths.root, [path for row in rows for path in (row.path, row.mask) if path])
        rows = [_as_on_disk(row, listing) for row in rows]
        report = ScanReport.of(listing, self.published)
        named = {row.path for row in rows} | {row.mask for row in rows}
        report.unknown = [path for path in listing.paths if path not in named and is_video(path)]
        if quality is not None:
            quality = choose_quality((row.quality for row in rows), quality)
            rows = [row for row in rows if row.quality == quality]
        rows = _unique(rows, report)
        report.missing = sorted({path for row in rows for path in (row.path, row.mask) if path} - listing.present)
        rows = [row if official else replace(row, split=UNASSIGNED) for row in rows if row.path in listing.present]
        report.entries = make_entries(rows, plain_name(PurePosixPath(root).stem), report)
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The folder of an image: images of a folder are usually frames of one video."""
        return image_folder(entry.path)


def make_entries(rows: Sequence[Row], dataset: str, report: ScanReport) -> list[VideoEntry]:
    """The entries of rows with distinct paths; fakes whose original is not among them are reported as unpaired.

    Ids are those of `make_video_id`. If two would coincide (`a.mov` and `a.mkv`, or a hyphen within a method), both
    end in eight hex digits of their path's SHA-256.
    """
    # The whole path without suffix, since a stem may occur in several folders.
    stems = {row.path: str(PurePosixPath(row.path).with_suffix("")) for row in rows}
    ids = {row.path: make_video_id(dataset, row.method, row.quality, row.path, stems[row.path]) for row in rows}
    counts = Counter(ids.values())
    ids = {path: name if counts[name] == 1 else f"{name}-{digest_of(path)}" for path, name in ids.items()}
    originals = _Originals(rows)
    missing = set(report.missing)
    entries = []
    for row in rows:
        original = originals.of(row)
        if row.source is not None and original is None:
            report.unpaired.append(row.path)
        entries.append(
            VideoEntry(
                video_id=ids[row.path],
                dataset=dataset,
                method=row.method,
                label=row.label,
                quality=row.quality,
                split=row.split,
                root=report.root,
                path=row.path,
                source_id=None if original is None else ids[original],
                subject_ids=tuple(f"{dataset}-{subject}" for subject in row.subjects),
                mask_path=None if row.mask in missing else row.mask,
                fake_periods=row.fake_periods,
                attributes=row.attributes,
                content=row.content,
            )
        )
    return entries


class _TablePaths:
    """Paths relative to the table's folder if all are below it, otherwise to their common parent folder.

    Args:
        base: absolute local folder or fsspec URL that relative paths start from.
        paths: of all videos and masks, relative, absolute, or URLs.

    Attributes:
        root: what `relative` is relative to.

    Raises:
        ManifestError: the paths lie on several file systems.
    """

    def __init__(self, base: str, paths: Iterable[str]) -> None:
        self._base = base.rstrip("/") or "/"
        self.root = self._base
        places = [self._place(path) for path in paths]
        if any(self._below(place) is None for place in places):
            self.root = _common_folder(places)

    def relative(self, path: str) -> str:
        """The normalised path below the root; unchanged if it is not below the root."""
        return self._below(self._place(path)) or path

    def _place(self, path: str) -> str:
        place = path if is_url(path) or path.startswith("/") else f"{self._base}/{path}"
        protocol, mark, rest = place.rpartition("://")
        return one_form(f"{protocol}{mark}{posixpath.normpath(rest)}")

    def _below(self, place: str) -> str | None:
        top = one_form(self.root).rstrip("/") + "/"
        return place.removeprefix(top) if place.startswith(top) else None


def _common_folder(places: list[str]) -> str:
    protocols = {place.rpartition("://")[0] for place in places}
    if len(protocols) > 1 or any("::" in place for place in places):
        raise ManifestError(
            "The table names files on several file systems: scan a table of each, then use `facemill merge`."
        )
    folders = [posixpath.dirname(place.rpartition("://")[2]) for place in places]
    (protocol,) = protocols
    # An archive's members are below its folder, like other files.
    folders = [
        posixpath.dirname(packed[0]) if (packed := split_archive(f"{folder}/x")) else folder for folder in folders
    ]
    return f"{protocol}://{posixpath.commonpath(folders)}" if protocol else posixpath.commonpath(folders)


class _Originals:
    """Real videos by quality and path, and by quality and stem if the stem is unique."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._by_path: dict[tuple[str, str], str] = {}
        self._by_stem: dict[tuple[str, str], str | None] = {}
        for row in rows:
            if row.label == 0:
                stem = (row.quality, one_form(PurePosixPath(row.path).stem))
                self._by_path[row.quality, one_form(row.path)] = row.path
                self._by_stem[stem] = None if stem in self._by_stem else row.path

    def of(self, row: Row) -> str | None:
        """Path of the original of a fake; None if it names none, or one that does not exist."""
        if row.source is None or row.source_path is None:
            return None
        by_path = self._by_path.get((row.quality, one_form(row.source_path)))
        return by_path or self._by_stem.get((row.quality, one_form(row.source)))


def _unique(rows: Iterable[Row], report: ScanReport) -> list[Row]:
    """The rows without duplicates; raises ManifestError for a path that is repeated with different values."""
    kept: dict[str, Row] = {}
    for row in rows:
        if kept.setdefault(row.path, row) is not row:
            if kept[row.path] != row:
                raise ManifestError(f"{row.path} is in the table twice, with different values: keep one row.")
            report.duplicate.append(row.path)
    return list(kept.values())


def _parse(line: dict[str, str | None], number: int, paths: _TablePaths) -> Row:
    label = _LABELS.get((line["label"] or "").lower())
    path, source, mask = line["path"], line["source"] if label == 1 else None, line["mask"]
    if label is None:
        raise ManifestError(f"Row {number} has the label {line['label']!r}: write 0 or real, 1 or fake.")
    if path is None:
        raise ManifestError(f"Row {number} has no path: write where the video is.")
    subjects = (subject.strip() for subject in re.split(r"[;|]", line["subject"] or ""))
    return Row(
        path=paths.relative(path),
        label=label,
        method="real" if label == 0 else line["method"] or "fake",
        quality=line["quality"] or "native",
        split=split_named(line["split"]),
        source=source,
        source_path=source and paths.relative(source),
        subjects=tuple(subject for subject in subjects if subject),
        mask=mask and paths.relative(mask),
        fake_periods=_periods(line["fake_periods"], number) if label == 1 else None,
        content=_content(path, line["content"], number),
        attributes=tuple(f"{name}={value}" for name, value in line.items() if value and name not in _COLUMNS),
    )


def _periods(text: str | None, number: int) -> tuple[tuple[float, float], ...] | None:
    if text is None:
        return None
    found = [_PERIOD.fullmatch(part.strip()) for part in text.rstrip("; ").split(";")]
    periods = [(float(match[1]), float(match[2])) for match in found if match]
    if len(periods) < len(found) or not all(start < end for start, end in periods):
        raise ManifestError(
            f"Row {number} has the fake_periods {text!r}: write start and end in seconds, as in 0.5-1.2; 3-4.5."
        )
    return tuple(sorted(periods))


def _content(path: str, given: str | None, number: int) -> str | None:
    """`VideoEntry.content`; an image by itself is read as a video of one frame unless the table says more."""
    of_images = is_sequence(path) or is_image(path)
    if given is not None and (given not in ("frames", "crops") or not of_images):
        raise ManifestError(f"Row {number} has the content {given!r}: write frames or crops, of images only.")
    return given or ("frames" if is_sequence(path) else None)


def _as_on_disk(row: Row, listing: Listing) -> Row:
    mask = None if row.mask is None else listing.find(row.mask) or row.mask
    return replace(row, path=listing.find(row.path) or row.path, mask=mask)
