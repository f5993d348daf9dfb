"""Opening files that may be damaged or hostile: nothing but regular files, and no more memory than they should need."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from facemill.manifests.schemas import conform
from facemill.manifests.storage import refuse_special_file

__all__ = ["CELL_BYTES", "check_cells", "most_bytes", "open_parquet", "picture_size", "read_table"]

CELL_BYTES = 64 << 10
"""More than any value of a table without pictures is stored in, lists of faces of a frame among them."""
LARGEST_SIDE = 8192
"""Sides of crops beyond which no picture is read."""


def most_bytes(side: int) -> int:
    """Upper bound for an encoded picture of this side, pixels: noise as PNG is hardly larger than its pixels."""
    return 4 * min(max(side, 0), LARGEST_SIDE) ** 2 + CELL_BYTES


def picture_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height by an encoded picture's header, without its pixels; None where it has none."""
    try:
        with Image.open(BytesIO(picture), formats=("PNG", "JPEG", "WEBP")) as opened:
            return opened.size
    except Exception:  # Pillow documents no exhaustive list of what damaged headers raise
        return None


@contextmanager
def open_parquet(path: Path, **options: object) -> Iterator[pq.ParquetFile]:
    """A Parquet file, opened without threads of Arrow's.

    Raises:
        ValueError: for anything but a regular file.
        OSError, pa.ArrowException: where it cannot be read.
    """
    refuse_special_file(path)
    with pq.ParquetFile(path, pre_buffer=False, **options) as file:  # type: ignore[arg-type]
        yield file


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """A table of records, whole; repeated words are one object until the columns are asked for.

    Raises:
        ManifestError: a column is missing or mistyped.
        ValueError: for what no table of records is: no regular file, or values of absurd size.
        OSError, pa.ArrowException: where it cannot be read.
    """
    with open_parquet(path) as file:
        there = set(file.schema_arrow.names)
    words = [field.name for field in schema if pa.types.is_string(field.type) and field.name in there]
    with open_parquet(path, read_dictionary=words) as file:
        check_cells(file, CELL_BYTES)
        table = file.read([name for name in schema.names if name in there])
        table.validate(full=True)  # words that are not UTF-8, lists that end before they begin
        return conform(table, schema)


def check_cells(file: pq.ParquetFile, cell_bytes: int, columns: frozenset[str] | None = None) -> None:
    """Refuse a file in which a column takes more bytes than so many for each row.

    Args:
        columns: names of the columns that are looked at; all unless told.

    Raises:
        ValueError: names the column.
    """
    footer = file.metadata
    for group in (footer.row_group(number) for number in range(footer.num_row_groups)):
        for chunk in (group.column(number) for number in range(group.num_columns)):
            known = columns is None or chunk.path_in_schema.partition(".")[0] in columns
            if known and chunk.total_uncompressed_size > group.num_rows * cell_bytes + CELL_BYTES:
                size, rows = chunk.total_uncompressed_size, group.num_rows
                raise ValueError(f"{chunk.path_in_schema} takes {size} bytes for {rows} rows")
