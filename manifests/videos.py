"""Reading and writing videos.parquet."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.schemas import VIDEOS, conform, from_table, to_table
from facemill.manifests.storage import atomic_path
from facemill.manifests.validation import check

__all__ = ["read_videos", "write_videos"]

_BATCH = 65_536  # rows held as Arrow and as records at once: the table of a million videos need not fit beside them


def read_videos(path: str | Path) -> list[VideoEntry]:
    """The videos of a manifest, in the file's order.

    Raises:
        ManifestError: the file is missing, is not Parquet, lacks columns, or breaks a rule of `manifests.check`.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"There is no manifest {path}: make one with `facemill scan`.")
    try:
        with pq.ParquetFile(path) as parquet:
            conform(parquet.schema_arrow.empty_table(), VIDEOS)
            entries = [
                entry
                for batch in parquet.iter_batches(_BATCH)
                for entry in from_table(pa.Table.from_batches([batch]), VideoEntry)
            ]
        check(entries)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path} is not a readable Parquet file ({error}): make it with `facemill scan`."
        ) from error
    except ManifestError as error:
        raise ManifestError(f"{path} is not a valid manifest: {error}") from error
    return entries


def write_videos(entries: Sequence[VideoEntry], path: str | Path) -> None:
    """Write a manifest. Equal entries give equal bytes, and the file appears whole or not at all.

    Raises:
        ManifestError: the entries break a rule of `facemill.manifests.check`; nothing is written.
    """
    check(entries)
    with (
        atomic_path(Path(path)) as temporary,
        pq.ParquetWriter(temporary, VIDEOS, compression="zstd") as writer,
    ):
        for start in range(0, len(entries), _BATCH):
            writer.write_table(to_table(entries[start : start + _BATCH], VIDEOS))
