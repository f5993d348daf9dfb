"""Reading and writing videos.parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.roots import locate_roots, store_roots
from facemill.manifests.schemas import VIDEOS, conform, from_table, to_table
from facemill.manifests.storage import atomic_path
from facemill.manifests.validation import check, shared_subjects

__all__ = ["SUBJECTS_NOTE", "is_manifest", "read_videos", "write_videos"]

SUBJECTS_NOTE = b"facemill.subjects"
"""Key of the file's metadata under which a sentence tells whether any subject is in more than one split."""

_BATCH = 65_536  # rows held as Arrow and as records at once: the table of a million videos need not fit beside them


def read_videos(path: str | Path, roots: Sequence[str] = ()) -> list[VideoEntry]:
    """The videos of a manifest, in the file's order.

    Examples:
        >>> videos = facemill.read_manifest("videos.parquet")
        >>> [video for video in videos if video.split == "test" and video.label == 0][0].method
        'real'

    Args:
        roots: where the videos are, if not where they were scanned: `DIR`, or `NAME=DIR` for each of several roots.

    Raises:
        ManifestError: the file is missing, is not Parquet, lacks columns, breaks a rule of `manifests.check`, or has
            not the roots that are told. Whether the roots are known and there is `check_roots`' affair.
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
    """Whether `write_videos` has written the file."""
    try:
        return SUBJECTS_NOTE in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def write_videos(entries: Sequence[VideoEntry], path: str | Path, *, places: bool = True) -> None:
    """Write a manifest. Equal entries give equal bytes, and the file appears whole or not at all.

    Examples:
        >>> facemill.write_manifest(facemill.read_manifest("videos.parquet"), "shared.parquet", places=False)

    It holds no local path: see `facemill.manifests.roots`.

    Args:
        places: write, beside it, where its roots are on this machine, so that `read_videos` finds them. False for a
            manifest that is to be shared.

    Raises:
        ManifestError: the entries break a rule of `facemill.manifests.check`; nothing is written.
    """
    check(entries)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = store_roots({entry.root for entry in entries}, path, places=places)
    schema = VIDEOS.with_metadata({SUBJECTS_NOTE: _subjects_note(entries)})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for start in range(0, len(entries), _BATCH):
            writer.write_table(_with_roots(to_table(entries[start : start + _BATCH], schema), stored))


def _with_roots(table: pa.Table, roots: Mapping[str, str]) -> pa.Table:
    position = table.schema.get_field_index("root")
    column = pa.array([roots[str(root)] for root in table.column(position).to_pylist()], pa.string())
    return table.set_column(position, table.schema.field(position), column)


def _subjects_note(entries: Sequence[VideoEntry]) -> str:
    shared, everybody = shared_subjects(entries), {subject for entry in entries for subject in entry.subject_ids}
    return f"{len(shared)} of {len(everybody)} subjects are in more than one split"
