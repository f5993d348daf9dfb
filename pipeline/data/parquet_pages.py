"""Byte positions of the images in a Parquet shard, for random access.

Parquet is read by row groups, which would decode 256 crops to get one. But shards store their images
PLAIN and uncompressed: a value is four bytes of length and then the image itself. So the page headers
and those lengths are scanned once, and from then on an image takes one read. Shards that another
library has rewritten, usually compressed, are read by row groups.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.checks.bounded import CELL_BYTES, check_cells, most_bytes, open_parquet
from facemill.manifests.shards.parquet import PARQUET_SAMPLES, image_columns

__all__ = ["GroupedShard", "ShardIndex", "index_shard", "open_shard"]

STRUCT, BINARY, DOUBLE, TRUE, FALSE = 12, 8, 7, 1, 2
"""Field types of Thrift's compact protocol; all other types in page headers are varints."""
PAGE_TYPE, PAGE_SIZE, DATA_PAGE_HEADER, ENCODING = 1, 2, 5, 2
"""Field numbers of a page header, and one of the data page header in it."""
DATA_PAGE = 0
PLAIN = 0
LENGTH = struct.Struct("<I")

Places = NDArray[np.int64]  # [rows, 2]: first byte and length; zeros if a row has no image


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """A shard's sample ids by row, and the byte positions of its images by column."""

    path: Path
    sample_ids: "pa.ChunkedArray[Any]"
    places: Mapping[str, Places]

    def read(self, row: int, names: Sequence[str]) -> list[bytes]:
        """Read the row's values of these columns, such as `image` and `mask`; empty if it has none.

        Raises:
            OSError: if the file can no longer be read.
        """
        with self.path.open("rb", buffering=0) as file:
            return [_read_bytes(file, self.places[name][row]) for name in names]


class GroupedShard:
    """A Parquet shard of any layout, read by row groups; one group per process is cached.

    Args:
        side: side of the crops, pixels; a shard with values larger than such crops can need is refused.
    """

    def __init__(self, path: Path, side: int) -> None:
        self.path = path
        with open_parquet(path) as file:
            images = frozenset(image_columns(file.schema_arrow))
            check_cells(file, CELL_BYTES, frozenset(file.schema_arrow.names) - images)
            check_cells(file, most_bytes(side), images)
            self.sample_ids = file.read(["sample_id"], use_threads=False)["sample_id"]
            rows = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        self._ends = np.cumsum(rows)

    def read(self, row: int, names: Sequence[str]) -> list[bytes]:
        """Read as `ShardIndex.read` does.

        Raises:
            OSError, pa.ArrowException: if the row's group cannot be read.
        """
        group = int(np.searchsorted(self._ends, row, "right"))
        table = _read_group(self, group, tuple(names))
        [images] = table.slice(row - int(self._ends[group]) + table.num_rows, 1).to_pylist()
        return [(images[name] or {}).get("bytes") or b"" for name in names]


@lru_cache(maxsize=1)
def _read_group(shard: GroupedShard, group: int, names: tuple[str, ...]) -> pa.Table:
    # As a dictionary, since a small file can repeat one large value in every row.
    with open_parquet(shard.path, read_dictionary=[f"{name}.bytes" for name in names]) as file:
        return file.read_row_group(group, list(names), use_threads=False)


class _OtherLayoutError(ValueError):
    """A file whose layout is not that of facemill's own shards."""


def open_shard(path: Path, side: int, names: Sequence[str] = ("image", "mask")) -> ShardIndex | GroupedShard:
    """Open a Parquet shard for reading by row.

    Args:
        side: side of the crops, pixels.
        names: image columns to be read.

    Raises:
        DatasetError: if the file is damaged or lacks columns.
    """
    try:
        return index_shard(path, names)
    except DatasetError as error:
        if not isinstance(error.__cause__, _OtherLayoutError):
            raise
    try:
        return GroupedShard(path, side)
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise DatasetError(f"{path} cannot be read as a Parquet shard ({error}): build it again.") from error


def index_shard(path: Path, names: Sequence[str] = ("image", "mask")) -> ShardIndex:
    """Locate every image in some columns of a Parquet shard.

    Raises:
        DatasetError: if the file is damaged, or its layout is not that of facemill's shards.
    """
    try:
        # Without threads: a DataLoader's worker may be a forked process, in which Arrow's threads do not exist.
        with open_parquet(path) as file, path.open("rb") as raw:
            schema, own = file.schema_arrow, PARQUET_SAMPLES.names
            if not pa.schema([field for field in schema if field.name in own]).equals(PARQUET_SAMPLES):
                raise _OtherLayoutError("its columns are not those of a shard")
            sample_ids = file.read(["sample_id"], use_threads=False)["sample_id"]
            with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
                places = {name: _places(file, data, name) for name in names}
        return ShardIndex(path, sample_ids, places)
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, struct.error) as error:
        raise DatasetError(f"{path} cannot be read as a Parquet shard ({error}): build it again.") from error


def _read_bytes(file: Any, place: NDArray[np.int64]) -> bytes:
    start, length = place.tolist()
    file.seek(start)
    return bytes(file.read(length))


def _places(file: pq.ParquetFile, data: mmap.mmap, column: str) -> Places:
    groups = []
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        found = np.array(list(_values(file, data, group, f"{column}.bytes")), np.int64).reshape(-1, 2)
        there = np.ones(rows, bool)
        if len(found) < rows:  # nulls take no bytes, so only Arrow knows which rows have no image
            images = file.read_row_group(group, [column], use_threads=False)[column].combine_chunks()
            there = pc.is_valid(pc.struct_field(images, "bytes")).to_numpy(zero_copy_only=False)
        if there.sum() != len(found):
            raise ValueError(f"{rows} rows have {len(found)} values of {column}")
        places = np.zeros((rows, 2), np.int64)
        places[there] = found
        groups.append(places)
    return np.concatenate([np.zeros((0, 2), np.int64), *groups])


def _values(file: pq.ParquetFile, data: mmap.mmap, group: int, path: str) -> Iterator[tuple[int, int]]:
    """Yield first byte and length of every value of a column in a row group."""
    columns = map(file.metadata.row_group(group).column, range(file.metadata.num_columns))
    chunk = next(column for column in columns if column.path_in_schema == path)
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        raise _OtherLayoutError(f"{path} is compressed or dictionary-encoded")
    position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    while position < end:
        header, start = _thrift(data, position)
        position = start + header[PAGE_SIZE]
        if position < start:
            raise ValueError(f"a page of {path} has a negative size")
        if header[PAGE_TYPE] != DATA_PAGE or header[DATA_PAGE_HEADER][ENCODING] != PLAIN:
            raise _OtherLayoutError(f"{path} has a page that is not plain")
        # These columns have no repetition levels; definition levels come first, after their length.
        value = start + LENGTH.size + LENGTH.unpack_from(data, start)[0]
        while value < position:
            (length,) = LENGTH.unpack_from(data, value)
            value += LENGTH.size + length
            if value > position:
                raise ValueError(f"a value of {path} ends outside its page")
            yield value - length, length


def _thrift(data: mmap.mmap, position: int) -> tuple[dict[int, Any], int]:
    """Read a Thrift struct (compact protocol); returns its fields by number, and its end position."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[position]:
        position += 1
        kind = head & 0xF
        if head >> 4:
            number += head >> 4
        else:
            number, position = _signed(data, position)
        if kind == STRUCT:
            fields[number], position = _thrift(data, position)
        elif kind == BINARY:
            length, position = _varint(data, position)
            position += length
        elif kind == DOUBLE:
            position += 8
        elif kind not in (TRUE, FALSE):
            fields[number], position = _signed(data, position)
    return fields, position + 1


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _signed(data: mmap.mmap, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return value >> 1 ^ -(value & 1), position
