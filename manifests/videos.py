"""Reads and writes videos.parquet."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.roots import locate_roots, store_roots
from facemill.manifests.schemas import VIDEOS, conform, from_table, to_table
from facemill.manifests.storage import atomic_path
from facemill.manifests.validation import check, shared_subjects

__all__ = ["SUBJECTS_NOTE", "entry_values", "is_manifest", "manifest_digest", "read_videos", "write_videos"]

SUBJECTS_NOTE = b"facemill.subjects"
"""Metadata key of a sentence on how many subjects are in more than one split."""

_BATCH = 65_536  # rows converted at a time: the table of a million videos need not fit in memory beside their records


def read_videos(path: str | Path, roots: Sequence[str] = ()) -> list[VideoEntry]:
    """Read the videos of a manifest, in the file's order.

    Examples:
        >>> videos = facemill.read_manifest("videos.parquet")
        >>> [video for video in videos if video.split == "test" and video.label == 0][0].method
        'real'

    Args:
        roots: where the videos are, if they have moved since the scan: `DIR`, or `NAME=DIR` for each of several roots.

    Raises:
        ManifestError: the file is missing, is not Parquet, lacks columns, breaks a rule of `manifests.check`, or does
            not have the given roots. `check_roots` checks that the roots are known and exist.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"There is no manifest {path}: make one with `facemill scan`.")
    try:
        with pq.ParquetFile(path) as parquet:
            conform(parquet.schema_arrow.empty_table(), VIDEOS)
            stored = {
                str(root)
                for batch in parquet.iter_batches(_BATCH, columns=["root"])
                for root in pc.unique(batch.column(0)).to_pylist()
            }
            located = locate_roots(stored, path, roots)
            entries = [
                entry
                for batch in parquet.iter_batches(_BATCH)
                for entry in from_table(_with_roots(pa.Table.from_batches([batch]), located), VideoEntry)
            ]
        check(entries)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path} is not a readable Parquet file ({error}): make it with `facemill scan`."
        ) from error
    except ManifestError as error:
        raise ManifestError(f"{path} is not a valid manifest: {error}") from error
    return entries


def is_manifest(path: str | Path) -> bool:
    """Whether the file was written by `write_videos`."""
    try:
        return SUBJECTS_NOTE in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def write_videos(entries: Sequence[VideoEntry], path: str | Path, *, places: bool = True) -> None:
    """Write a manifest atomically; equal entries give equal bytes.

    Examples:
        >>> facemill.write_manifest(facemill.read_manifest("videos.parquet"), "shared.parquet", places=False)

    It contains no local path: see `facemill.manifests.roots`.

    Args:
        places: also write a file with the local folders of its roots, so that `read_videos` finds them. False for a
            manifest to be shared.

    Raises:
        ManifestError: the entries break a rule of `facemill.manifests.check`; nothing is written.
    """
    check(entries)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = store_roots({entry.root for entry in entries}, path, places=places)
    shared, subjects = shared_subjects(entries), {subject for entry in entries for subject in entry.subject_ids}
    note = f"{len(shared)} of {len(subjects)} subjects are in more than one split"
    schema = VIDEOS.with_metadata({SUBJECTS_NOTE: note})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for start in range(0, len(entries), _BATCH):
            writer.write_table(_with_roots(to_table(entries[start : start + _BATCH], schema), stored))


def _with_roots(table: pa.Table, roots: Mapping[str, str]) -> pa.Table:
    position = table.schema.get_field_index("root")
    column = pa.array([roots[str(root)] for root in table.column(position).to_pylist()], pa.string())
    return table.set_column(position, table.schema.field(position), column)


_values = attrgetter(*(field.name for field in fields(VideoEntry) if field.name != "root"))


def entry_values(entry: VideoEntry) -> tuple[Any, ...]:
    """What is compared of a manifest's row: a root that has moved holds the same videos still.

    Its last column, which came later, counts only where it says something, so that builds of before can be resumed.
    """
    values: tuple[Any, ...] = _values(entry)
    return values[:-1] if entry.content is None else values


def manifest_digest(entries: Sequence[VideoEntry]) -> str:
    """SHA-256 of a manifest's rows."""
    videos = hashlib.sha256()
    for entry in entries:
        values = entry_values(entry)
        later = entry.fake_periods is not None or entry.attributes or entry.content is not None  # as in `entry_values`
        videos.update(repr(values if later else values[:-2]).encode())
    return videos.hexdigest()
