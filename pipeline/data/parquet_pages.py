"""Where in a Parquet shard each picture's bytes lie.

Parquet is read a row group at a time, which is 256 crops where one is wanted. Shards hold their pictures
PLAIN and uncompressed, though: a value is four bytes of length and then the picture itself. So the pages'
headers and those lengths are walked through once, and a picture is one read from then on. Shards that another
library has written anew, compressed as most write, are read by row groups.
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
from facemill.manifests.shards.parquet import PARQUET_SAMPLES, picture_columns

__all__ = ["GroupedShard", "ShardIndex", "index_shard", "open_shard"]

STRUCT, BINARY, DOUBLE, TRUE, FALSE = 12, 8, 7, 1, 2
"""Types of fields in Thrift's compact protocol; all others that page headers have are varints."""
PAGE_TYPE, PAGE_SIZE, DATA_PAGE_HEADER, ENCODING = 1, 2, 5, 2
"""Fields of a page header, and one of the data page header in it."""
DATA_PAGE = 0
PLAIN = 0
LENGTH = struct.Struct("<I")

Places = NDArray[np.int64]  # [rows, 2]: first byte and length; zeros where a row has no picture


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """A shard's samples by row, and the places of their pictures in the file, by column."""

    path: Path
    sample_ids: "pa.ChunkedArray[Any]"
    places: Mapping[str, Places]

    def read(self, row: int, names: Sequence[str]) -> list[bytes]:
        """What the row has in these columns, such as `image` and `mask`; empty where it has none.

        Raises:
            OSError: the file cannot be read any more.
        """
        with self.path.open("rb", buffering=0) as file:
            return [_read_bytes(file, self.places[name][row]) for name in names]


class GroupedShard:
    """A shard in any layout of Parquet's: the row group read last stays in memory, one for each process.

    Args:
        side: of the crops, pixels; a shard with larger values than such crops can need is refused.
    """

    def __init__(self, path: Path, side: int) -> None:
        self.path = path
        with open_parquet(path) as file:
            pictures = frozenset(picture_columns(file.schema_arrow))
            check_cells(file, CELL_BYTES, frozenset(file.schema_arrow.names) - pictures)
            check_cells(file, most_bytes(side), pictures)
            self.sample_ids = file.read(["sample_id"], use_threads=False)["sample_id"]
            rows = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        self._ends = np.cumsum(rows)

    def read(self, row: int, names: Sequence[str]) -> list[bytes]:
        """As `ShardIndex.read`.

        Raises:
            OSError, pa.ArrowException: the row's group cannot be read.
        """
        group = int(np.searchsorted(self._ends, row, "right"))
        table = _read_group(self, group, tuple(names))
        [pictures] = table.slice(row - int(self._ends[group]) + table.num_rows, 1).to_pylist()
        return [(pictures[name] or {}).get("bytes") or b"" for name in names]


@lru_cache(maxsize=1)
def _read_group(shard: GroupedShard, group: int, names: tuple[str, ...]) -> pa.Table:
    # As a dictionary, because a small file can hold one large value that stands in every row.
    with open_parquet(shard.path, read_dictionary=[f"{name}.bytes" for name in names]) as file:
        return file.read_row_group(group, list(names), use_threads=False)


class _OtherLayoutError(ValueError):
    """A file that is not laid out as facemill's own shards are."""


def open_shard(path: Path, side: int, names: Sequence[str] = ("image", "mask")) -> ShardIndex | GroupedShard:
    """A Parquet shard of crops of so many pixels, for reading by row.

    Args:
        names: columns of pictures that will be read.

    Raises:
        DatasetError: where the file is damaged or lacks columns.
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
    """Find every picture in some columns of a Parquet shard.

    Raises:
        DatasetError: where the file is damaged, or not laid out as facemill's shards are.
    """
    try:
        # Without threads: a DataLoader's worker may be a fork, in which Arrow's threads are gone.
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
        if len(found) < rows:  # nulls leave no bytes, so that only Arrow can tell whose picture is missing
            pictures = file.read_row_group(group, [column], use_threads=False)[column].combine_chunks()
            there = pc.is_valid(pc.struct_field(pictures, "bytes")).to_numpy(zero_copy_only=False)
        if there.sum() != len(found):
            raise ValueError(f"{rows} rows have {len(found)} values of {column}")
        places = np.zeros((rows, 2), np.int64)
        places[there] = found
        groups.append(places)
    return np.concatenate([np.zeros((0, 2), np.int64), *groups])


def _values(file: pq.ParquetFile, data: mmap.mmap, group: int, path: str) -> Iterator[tuple[int, int]]:
    """First byte and length of every value of a column of a row group."""
    columns = map(file.metadata.row_group(group).column, range(file.metadata.num_columns))
    chunk = next(column for column in columns if column.path_in_schema == path)
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        raise _OtherLayoutError(f"{path} is compressed or dictionary-encoded")
    position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    while position < end:
        header, start = _thrift(data, position)
        position = start + header[PAGE_SIZE]
        if position < start:
            raise ValueError(f"a page of {path} has less than no bytes")
        if header[PAGE_TYPE] != DATA_PAGE or header[DATA_PAGE_HEADER][ENCODING] != PLAIN:
            raise _OtherLayoutError(f"{path} has a page that is not plain")
        # Nothing repeats in these columns; what is null or not stands first, after its own length.
        value = start + LENGTH.size + LENGTH.unpack_from(data, start)[0]
        while value < position:
            (length,) = LENGTH.unpack_from(data, value)
            value += LENGTH.size + length
            if value > position:
                raise ValueError(f"a value of {path} ends outside its page")
            yield value - length, length


def _thrift(data: mmap.mmap, position: int) -> tuple[dict[int, Any], int]:
    """Read a Thrift struct (compact protocol): its fields by number, and where it ends."""
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
