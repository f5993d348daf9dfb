"""Parquet shards: every column of a sample's record, its image and its mask; readable by `datasets` directly."""

import dataclasses
import itertools
import json
import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError, ManifestError
from facemill.manifests.annotations import Annotations, image_names, samples_schema
from facemill.manifests.blame import memory_is_short
from facemill.manifests.checks.bounded import CELL_BYTES, check_cells, most_bytes, open_parquet
from facemill.manifests.records import LABELS, SampleRecord
from facemill.manifests.schemas import ADDED, LATER, from_table, to_table
from facemill.manifests.shards.base import (
    NO_ANNOTATIONS,
    EncodedImages,
    EncodedSample,
    Places,
    ShardFormat,
    ShardIndex,
    image_suffix,
    placed,
)

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

LENGTH = struct.Struct("<I")
SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)
"""First bytes of an image."""
NO_PLACES = np.zeros((0, 2), np.int64)

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


UNREADABLE = (ManifestError, pa.ArrowException, OSError, ValueError, TypeError, LookupError, struct.error)
"""What reading a damaged file may raise."""


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
        with _damage_told(path), open_parquet(path, buffer_size=READ_BUFFER) as file:
            missing = sorted(set(PARQUET_SAMPLES.names) - set(file.schema_arrow.names) - ADDED.keys() - LATER.keys())
            if missing:
                raise DatasetError(f"{path.name} lacks the columns {', '.join(missing)}: build it again.")
            names = image_columns(file.schema_arrow)
            for batch in file.iter_batches(_rows_per_read(file, names)):
                records = from_table(pa.Table.from_batches([batch]), SampleRecord)
                images = (pc.struct_field(batch.column(name), "bytes") for name in names)
                for record, *stored in zip(records, *images, strict=True):
                    image, mask, *more = (cell.as_py() or b"" for cell in stored)
                    yield EncodedSample(record, image, mask, dict(zip(names[2:], more, strict=True)))

    def index(self, path: Path) -> ShardIndex | None:
        # Without Arrow's threads: a DataLoader's worker may be a forked process, in which they do not exist.
        with _damage_told(path), open_parquet(path) as file, path.open("rb") as raw:
            sample_ids: Any = file.read(["sample_id"], use_threads=False)["sample_id"].to_pylist()
            parts: dict[str, list[Places]] = {name: [NO_PLACES] for name in image_columns(file.schema_arrow)}
            with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for name, group in itertools.product(parts, range(file.metadata.num_row_groups)):
                    if (places := _located(file, data, group, name)) is None:
                        return None
                    parts[name].append(places)
        return ShardIndex(sample_ids, {name: np.concatenate(groups) for name, groups in parts.items()})

    def read_block(self, path: Path, row: int) -> tuple[int, list[EncodedImages]]:
        with _damage_told(path):
            with open_parquet(path) as file:
                names = image_columns(file.schema_arrow)
                _refuse_large_images(file, names)
                groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            ends = np.cumsum([group.num_rows for group in groups])
            number = min(int(np.searchsorted(ends, row, "right")), len(groups) - 1)
            chunks = (groups[number].column(column) for column in range(groups[number].num_columns))
            # As a dictionary, since a small file can repeat one large value in every row.
            repeated = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
            with open_parquet(path, read_dictionary=repeated) as file:
                table = file.read_row_group(number, names, use_threads=False)
        rows = ({name: (image or {}).get("bytes") or b"" for name, image in row.items()} for row in table.to_pylist())
        return int(ends[number]) - len(table), list(rows)

    def layout_faults(self, path: Path) -> Iterator[str]:
        with open_parquet(path) as file:
            stated = (file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            features = {} if stated is None else json.loads(stated)["info"]["features"]
            if any(features.get(name, kind) != kind for name, kind in FEATURES.items()):
                yield "its metadata names other classes or types than those of a shard"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            yield "its metadata cannot be read"


def _located(file: pq.ParquetFile, data: mmap.mmap, group: int, name: str) -> Places | None:
    """Where a row group holds the images of a column; None if it does not hold them as they are.

    Values of an uncompressed, plain column are four bytes of length and then the image, page after page. So there is
    no need to read the images: each is found by its signature, after the end of the one before.
    """
    rows = file.metadata.row_group(group).num_rows
    columns = map(file.metadata.row_group(group).column, range(file.metadata.num_columns))
    chunk = {column.path_in_schema: column for column in columns}[f"{name}.bytes"]
    plain = {"PLAIN", "RLE", "BIT_PACKED"}.issuperset(chunk.encodings)  # the last two are those of nulls
    if chunk.compression != "UNCOMPRESSED" or not plain or chunk.is_stats_set:  # statistics hold images themselves
        return None
    found = []
    end = chunk.data_page_offset + chunk.total_compressed_size
    position = chunk.data_page_offset
    while match := SIGNATURES.search(data, position, end):
        (size,) = LENGTH.unpack_from(data, match.start() - LENGTH.size)
        position = match.start() + size
        if position > end:
            return None
        found.append((match.start(), size))
    there = np.ones(rows, bool)
    if len(found) < rows:  # nulls take no bytes, so only Arrow knows which rows have no image
        images = file.read_row_group(group, [name], use_threads=False)[name].combine_chunks()
        sizes: Any = pc.binary_length(pc.struct_field(images, "bytes"))
        there = np.asarray(sizes.fill_null(0)) > 0
    if there.sum() != len(found):
        return None  # some values are not images: whoever reads them will say so
    places = np.zeros((rows, 2), np.int64)
    places[there] = found
    return places


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Raise what reading a damaged file raises as `DatasetError`."""
    try:
        yield
    except UNREADABLE as error:
        if memory_is_short():
            raise MemoryError(str(error)) from error
        raise DatasetError(f"{path.name} cannot be read as Parquet ({error}): build it again.") from error


def image_columns(schema: pa.Schema) -> list[str]:
    """Names of the image columns: `image`, `mask`, and the image annotations.

    Raises:
        ValueError: `image` or `mask` has values of another type.
    """
    for name in ("image", "mask"):
        kind = schema.field(name).type
        stored = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(stored) or pa.types.is_large_binary(stored)) or stored is kind:
            raise ValueError(f"the column {name} holds no images")
    return ["image", "mask", *(f.name for f in schema if f.name not in PARQUET_SAMPLES.names and f.type == IMAGE)]


def _refuse_large_images(file: pq.ParquetFile, images: list[str]) -> None:
    """Raise `ValueError` for images that are larger than crops of the stated size can be."""
    sides = pc.max(file.read(["crop_size"], use_threads=False)["crop_size"]).as_py() or 0
    check_cells(file, most_bytes(sides), frozenset(images))


def _rows_per_read(file: pq.ParquetFile, images: list[str]) -> int:
    """Rows per batch, such that it fits into memory; raises ValueError for values larger than those of samples."""
    check_cells(file, CELL_BYTES, frozenset(file.schema_arrow.names).difference(images))
    _refuse_large_images(file, images)
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
