"""Any corpus that a table describes."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facemill import ManifestError
from facemill.manifests.datasets.base import UNASSIGNED, DatasetAdapter, choose_quality, make_video_id
from facemill.manifests.records import SPLITS, VideoEntry
from facemill.manifests.scanning.listing import is_video, list_files
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.tables import read_table

__all__ = ["CsvFile"]

_COLUMNS = ("path", "label", "method", "source", "split", "subject", "quality", "mask")
_LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table, its paths relative to the root."""

    path: str
    label: int
    method: str
    quality: str
    split: str
    source: str | None
    subjects: tuple[str, ...]
    mask: str | None


@dataclass(frozen=True)
class CsvFile(DatasetAdapter):
    """Any corpus: a CSV or Parquet file with a row per video; the entries' dataset is the file's stem.

    Layout: columns `path` and `label` (0/1 or real/fake), and where known `method` (`fake` unless
    told), `source`, `split`, `subject` (several separated by `;` or `|`), `quality` (`native` unless
    told) and `mask`. Paths are relative to the table's folder, or to `folder`.
    Pairs: `source` is the path or the stem of the original, in the same quality.
    Splits: the `split` column. Published: nothing.

    Attributes:
        folder: where the videos are, as a local folder or fsspec URL; None for the table's folder.
    """

    folder: str | None = None
    name = "csv"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`, where `root` is the table."""
        lines = read_table(root, _COLUMNS, {"path", "label"})
        listing = list_files(self.folder or _parent(root))
        rows = [_parse(line, number, listing.root) for number, line in enumerate(lines, start=1)]
        if official and (without := [number for number, row in enumerate(rows, start=1) if row.split not in SPLITS]):
            raise ManifestError(
                f"Row {without[0]} of {root} (and {len(without) - 1} more) has no split of {', '.join(SPLITS)}: "
                "fill in a split column, or pass --split identity:80/10/10."
            )
        report = ScanReport(listing.root, self.published)
        named = {row.path for row in rows} | {row.mask for row in rows}
        report.unknown = [path for path in listing.paths if path not in named and is_video(path)]
        if quality is not None:
            quality = choose_quality((row.quality for row in rows), quality)
            rows = [row for row in rows if row.quality == quality]
        rows = _unique(rows, report)
        report.missing = sorted({path for row in rows for path in (row.path, row.mask) if path} - listing.present)
        dataset = re.sub(r"[^A-Za-z0-9_-]", "_", PurePosixPath(root).stem)
        report.entries = _entries([row for row in rows if row.path in listing.present], dataset, official, report)
        return report


def _entries(rows: list[_Row], dataset: str, official: bool, report: ScanReport) -> list[VideoEntry]:
    ids = {row.path: make_video_id(dataset, row.method, row.quality, row.path, _without_suffix(row)) for row in rows}
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
                split=row.split if official else UNASSIGNED,
                root=report.root,
                path=row.path,
                source_id=None if original is None else ids[original],
                subject_ids=tuple(f"{dataset}-{subject}" for subject in row.subjects),
                mask_path=None if row.mask in missing else row.mask,
            )
        )
    return entries


class _Originals:
    """Real videos by quality and path, and by quality and stem where only one has it."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._by_path: set[tuple[str, str]] = set()
        self._by_stem: dict[tuple[str, str], str | None] = {}
        for row in rows:
            if row.label == 0:
                stem = (row.quality, PurePosixPath(row.path).stem)
                self._by_path.add((row.quality, row.path))
                self._by_stem[stem] = None if stem in self._by_stem else row.path

    def of(self, row: _Row) -> str | None:
        """Path of the original of a fake; None where it names none, or none that is here."""
        if row.source is None:
            return None
        path = posixpath.normpath(row.source)
        return path if (row.quality, path) in self._by_path else self._by_stem.get((row.quality, row.source))


def _unique(rows: Iterable[_Row], report: ScanReport) -> list[_Row]:
    """The rows without repetitions.

    Raises:
        ManifestError: a path comes back with other values.
    """
    kept: dict[str, _Row] = {}
    for row in rows:
        if kept.setdefault(row.path, row) is not row:
            if kept[row.path] != row:
                raise ManifestError(f"{row.path} is in the table twice, with different values: keep one row.")
            report.duplicate.append(row.path)
    return list(kept.values())


def _parse(line: dict[str, str | None], number: int, root: str) -> _Row:
    label = _LABELS.get((line["label"] or "").strip().lower())
    path, mask = _relative(line["path"], root), _relative(line["mask"], root)
    if label is None:
        raise ManifestError(f"Row {number} has the label {line['label']!r}: write 0 or real, 1 or fake.")
    if path is None or path.startswith(("/", "..")):
        raise ManifestError(
            f"Row {number} has the path {line['path']!r}, which is not below {root}: give a root above it."
        )
    subjects = (subject.strip() for subject in re.split(r"[;|]", line["subject"] or ""))
    return _Row(
        path=path,
        label=label,
        method="real" if label == 0 else line["method"] or "fake",
        quality=line["quality"] or "native",
        split=(line["split"] or "").strip().lower(),
        source=line["source"] if label == 1 else None,
        subjects=tuple(subject for subject in subjects if subject),
        mask=mask,
    )


def _relative(path: str | None, root: str) -> str | None:
    """The path in its plainest form; an absolute one below the root is made relative."""
    return posixpath.normpath(path.removeprefix(f"{root.rstrip('/')}/")) if path else None


def _without_suffix(row: _Row) -> str:
    """The whole path, since a stem may come back in another folder."""
    return str(PurePosixPath(row.path).with_suffix(""))


def _parent(place: str) -> str:
    return place.rpartition("/")[0] if "://" in place else str(Path(place).absolute().parent)
