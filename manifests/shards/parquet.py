"""Parquet shards: every column of a sample's record, its image and its mask; readable by `datasets` directly."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError, ManifestError
from facemill.manifests.annotations import Annotations, image_names, samples_schema
from facemill.manifests.checks.bounded import CELL_BYTES, check_cells, most_bytes, open_parquet
from facemill.manifests.records import LABELS, SampleRecord
from facemill.manifests.schemas import ADDED, from_table, to_table
from facemill.manifests.shards.base import NO_ANNOTATIONS, EncodedSample, ShardFormat, image_suffix, placed

__all__ = ["PARQUET_SAMPLES", "ROWS_PER_GROUP", "ParquetShards", "image_columns"]

ROWS_PER_GROUP = 256
"""Samples per row group: the most that writing holds in memory, and the unit of random access."""
PAGE_ROWS = 8
"""Rows after which a page may end; Arrow's default, 1024, would put all images of a row group into one page."""
ROWS_PER_READ = 32
READ_BUFFER = 1 << 20
"""Samples, and bytes of a column, that streaming holds at a time."""
READ_BYTES = 256 << 20
"""Upper bound for the values of a batch, if another library stored repeated values in a dictionary."""

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

FEATURES = {
    "label": {"names": list(LABELS), "_type": "ClassLabel"},
    "image": {"_type": "Image"},
    "mask": {"_type": "Image"},
}
"""Types that `datasets` cannot infer from a column's Arrow type, in its own notation."""


def _shard_schema(annotations: Annotations) -> pa.Schema:
    """Schema of a Parquet shard: the columns of samples.parquet, and the images."""
    # `datasets` respects FEATURES only if a column has the type that it would write itself: 64-bit and nullable.
    columns = {**{field.name: field for field in samples_schema(annotations)}, "label": pa.field("label", pa.int64())}
    images = image_names(annotations)
    features = {**FEATURES, **dict.fromkeys(images, FEATURES["image"])}
    return pa.schema(
        [*columns.values(), *(pa.field(name, IMAGE) for name in ("image", "mask", *images))],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


PARQUET_SAMPLES = _shard_schema({})
"""Schema of a Parquet shard without annotations."""


class ParquetShards(ShardFormat):
    """`.parquet`; images are stored PLAIN and uncompressed, so that reading a row is a single copy."""

    name = "parquet"
    suffix = ".parquet"

    @contextmanager
    def open_writer(
        self, path: Path, shard: str, annotations: Annotations = NO_ANNOTATIONS
    ) -> Iterator["_ParquetWriter"]:
        # The other columns are a few hundred bytes per row: not worth compressing.
        schema = _shard_schema(annotations)
        plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
        options: dict[str, Any] = {
            "compression": "none",
            "use_dictionary": plain,
            "write_statistics": plain,
            "write_batch_size": PAGE_ROWS,
        }
        with pq.ParquetWriter(path, schema, **options) as file:
            writer = _ParquetWriter(file, shard, annotations)
            yield writer
            writer.flush()

    def read(self, path: Path) -> Iterator[EncodedSample]:
        try:
            with open_parquet(path, buffer_size=READ_BUFFER) as file:
                missing = sorted(set(PARQUET_SAMPLES.names) - set(file.schema_arrow.names) - ADDED.keys())
                if missing:
                    raise DatasetError(f"{path.name} lacks the columns {', '.join(missing)}: build it again.")
                names = image_columns(file.schema_arrow)
                for batch in file.iter_batches(_rows_per_read(file, names)):
                    records = from_table(pa.Table.from_batches([batch]), SampleRecord)
                    images = (pc.struct_field(batch.column(name), "bytes") for name in names)
                    for record, *stored in zip(records, *images, strict=True):
                        image, mask, *more = (cell.as_py() or b"" for cell in stored)
                        yield EncodedSample(record, image, mask, dict(zip(names[2:], more, strict=True)))
        except (ManifestError, pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{path.name} cannot be read as Parquet ({error}): build it again.") from error

    def layout_faults(self, path: Path) -> Iterator[str]:
        with open_parquet(path) as file:
            stated = (file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            features = {} if stated is None else json.loads(stated)["info"]["features"]
            if any(features.get(name, kind) != kind for name, kind in FEATURES.items()):
                yield "its metadata names other classes or types than those of a shard"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            yield "its metadata cannot be read"


def image_columns(schema: pa.Schema) -> list[str]:
    """Names of the image columns: `image`, `mask`, and the image annotations."""
    return ["image", "mask", *(f.name for f in schema if f.name not in PARQUET_SAMPLES.names and f.type == IMAGE)]


def _rows_per_read(file: pq.ParquetFile, images: list[str]) -> int:
    """Number of rows per batch, such that it fits into memory for any file.

    Raises:
        ValueError: for values that are larger than those of a sample can be.
    """
    check_cells(file, CELL_BYTES, frozenset(file.schema_arrow.names).difference(images))
    sides = pc.max(file.read(["crop_size"], use_threads=False)["crop_size"]).as_py() or 0
    check_cells(file, most_bytes(sides), frozenset(images))
    # A value stored once in a dictionary may occur in every row of the batch.
    chunks = (g.column(c) for g in map(file.metadata.row_group, range(file.metadata.num_row_groups))
              for c in range(g.num_columns))  # fmt: skip
    largest = max((chunk.total_uncompressed_size for chunk in chunks if chunk.has_dictionary_page), default=1)
    return max(1, min(ROWS_PER_READ, READ_BYTES // max(largest, 1)))


class _ParquetWriter:
    """Collects a row group, then writes it."""

    def __init__(self, file: pq.ParquetWriter, shard: str, annotations: Annotations) -> None:
        self._file = file
        self._shard = shard
        self._schema, self._images = samples_schema(annotations), image_names(annotations)
        self._shard_schema = _shard_schema(annotations)
        self._rows = 0
        self._pending: list[EncodedSample] = []

    def write(self, sample: EncodedSample) -> SampleRecord:
        record = placed(sample, self._shard, self._rows, self._schema)
        self._rows += 1
        self._pending.append(dataclasses.replace(sample, record=record))
        if len(self._pending) == ROWS_PER_GROUP:
            self.flush()
        return record

    def flush(self) -> None:
        if not self._pending:
            return
        table = to_table([sample.record for sample in self._pending], self._schema)
        images = [{"bytes": s.image, "path": s.record.sample_id + image_suffix(s.image)} for s in self._pending]
        masks = [{"bytes": s.mask, "path": f"{s.record.sample_id}.mask.png"} for s in self._pending]
        table = table.append_column("image", pa.array(images, IMAGE)).append_column("mask", pa.array(masks, IMAGE))
        for name in self._images:
            more = [{"bytes": s.images[name], "path": f"{s.record.sample_id}.{name}.png"} for s in self._pending]
            table = table.append_column(name, pa.array(more, IMAGE))
        self._file.write_table(table.cast(self._shard_schema), ROWS_PER_GROUP)
        self._pending.clear()
