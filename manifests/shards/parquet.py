"""Parquet shards: every column of a sample's record, its picture and its mask; what `datasets` loads as they are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError, ManifestError
from facemill.manifests.checks.bounded import CELL_BYTES, check_cells, most_bytes, open_parquet
from facemill.manifests.records import LABELS, SampleRecord
from facemill.manifests.schemas import ADDED, SAMPLES, from_table, to_table
from facemill.manifests.shards.base import EncodedSample, ShardFormat, image_suffix, placed

__all__ = ["PARQUET_SAMPLES", "ROWS_PER_GROUP", "ParquetShards"]

ROWS_PER_GROUP = 256
"""Samples in a row group: the most that writing holds in memory, and what random access reads at once."""
PAGE_ROWS = 8
"""Rows after which a page may end: Arrow's 1024 would make one page of all pictures of a row group."""
ROWS_PER_READ = 32
READ_BUFFER = 1 << 20
"""Streaming holds so many samples, and so many bytes of a column, at a time."""
READ_BYTES = 256 << 20
"""Most that the values of a batch may come to, where some other library wrote each once for many rows."""

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

FEATURES = {
    "label": {"names": list(LABELS), "_type": "ClassLabel"},
    "image": {"_type": "Image"},
    "mask": {"_type": "Image"},
}
"""What `datasets` cannot tell from a column's Arrow type, in its own notation; the rest it infers."""

# `datasets` heeds FEATURES only where a column is exactly what it would have written: 64-bit and nullable.
_COLUMNS = {**{field.name: field for field in SAMPLES}, "label": pa.field("label", pa.int64())}
PARQUET_SAMPLES = pa.schema(
    [*_COLUMNS.values(), pa.field("image", PICTURE), pa.field("mask", PICTURE)],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)
"""Schema of a Parquet shard: the columns of samples.parquet, and the pictures."""


class ParquetShards(ShardFormat):
    """`.parquet`; pictures are stored as they are (PLAIN, uncompressed), so that a row is one copy away."""

    name = "parquet"
    suffix = ".parquet"

    @contextmanager
    def open_writer(self, path: Path, shard: str) -> Iterator["_ParquetWriter"]:
        # Everything but the pictures is a few hundred bytes a row: not worth compressing.
        plain = [field.name for field in SAMPLES if not pa.types.is_nested(field.type)]
        options: dict[str, Any] = {
            "compression": "none",
            "use_dictionary": plain,
            "write_statistics": plain,
            "write_batch_size": PAGE_ROWS,
        }
        with pq.ParquetWriter(path, PARQUET_SAMPLES, **options) as file:
            writer = _ParquetWriter(file, shard)
            yield writer
            writer.flush()

    def read(self, path: Path) -> Iterator[EncodedSample]:
        try:
            with open_parquet(path, buffer_size=READ_BUFFER) as file:
                missing = sorted(set(PARQUET_SAMPLES.names) - set(file.schema_arrow.names) - ADDED.keys())
                if missing:
                    raise DatasetError(f"{path.name} lacks the columns {', '.join(missing)}: build it again.")
                for batch in file.iter_batches(_rows_per_read(file)):
                    records = from_table(pa.Table.from_batches([batch]), SampleRecord)
                    pictures = (pc.struct_field(batch.column(name), "bytes") for name in ("image", "mask"))
                    for record, image, mask in zip(records, *pictures, strict=True):
                        yield EncodedSample(record, image.as_py() or b"", mask.as_py() or b"")
        except (ManifestError, pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{path.name} cannot be read as Parquet ({error}): build it again.") from error


def _rows_per_read(file: pq.ParquetFile) -> int:
    """Rows of a batch, so that it fits into memory whatever the file holds.

    Raises:
        ValueError: for values that are larger than a sample's can be.
    """
    pictures = frozenset(("image", "mask"))
    check_cells(file, CELL_BYTES, frozenset(PARQUET_SAMPLES.names) - pictures)
    sides = pc.max(file.read(["crop_size"], use_threads=False)["crop_size"]).as_py() or 0
    check_cells(file, most_bytes(sides), pictures)
    # What a dictionary holds once may stand in every row of the batch.
    chunks = (g.column(c) for g in map(file.metadata.row_group, range(file.metadata.num_row_groups))
              for c in range(g.num_columns))  # fmt: skip
    largest = max((chunk.total_uncompressed_size for chunk in chunks if chunk.has_dictionary_page), default=1)
    return max(1, min(ROWS_PER_READ, READ_BYTES // max(largest, 1)))


class _ParquetWriter:
    """Collects a row group, then writes it."""

    def __init__(self, file: pq.ParquetWriter, shard: str) -> None:
        self._file = file
        self._shard = shard
        self._rows = 0
        self._pending: list[EncodedSample] = []

    def write(self, sample: EncodedSample) -> SampleRecord:
        record = placed(sample, self._shard, self._rows)
        self._rows += 1
        self._pending.append(EncodedSample(record, sample.image, sample.mask))
        if len(self._pending) == ROWS_PER_GROUP:
            self.flush()
        return record

    def flush(self) -> None:
        if not self._pending:
            return
        table = to_table([sample.record for sample in self._pending], SAMPLES)
        images = [{"bytes": s.image, "path": s.record.sample_id + image_suffix(s.image)} for s in self._pending]
        masks = [{"bytes": s.mask, "path": f"{s.record.sample_id}.mask.png"} for s in self._pending]
        table = table.append_column("image", pa.array(images, PICTURE)).append_column("mask", pa.array(masks, PICTURE))
        self._file.write_table(table.cast(PARQUET_SAMPLES), ROWS_PER_GROUP)
        self._pending.clear()
