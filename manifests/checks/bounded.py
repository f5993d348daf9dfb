"""Opens files that may be damaged or malicious: regular files only, with bounded memory."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from facemill.manifests.blame import memory_is_short
from facemill.manifests.schemas import conform
from facemill.manifests.storage import refuse_special_file

__all__ = [
    "CELL_BYTES",
    "check_cells",
    "content_of",
    "image_fault",
    "image_size",
    "most_bytes",
    "open_parquet",
    "read_table",
    "survives_footer",
]

CELL_BYTES = 64 << 10
"""Upper bound for the stored size of any table value that is not an image, including a frame's lists of faces."""
LARGEST_SIDE = 8192
"""Largest side of an image that is read, in pixels."""
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""The signature, and the length and name of the first chunk, in which width and height are; its checksum is at 29."""
COLOURS = {"gamma", "icc_profile", "chromaticity"}
"""Pillow's names of what makes some programs convert an image's colours; sRGB does not."""
ORIENTATION = 0x0112
"""EXIF tag; some readers rotate an image by it."""
LONGEST_DOCUMENT = 64 << 20
"""Largest JSON or Markdown file that is read, in bytes."""
_WALK = (
    "import sys, pyarrow.parquet as pq; footer = pq.ParquetFile(sys.argv[1]).metadata; "
    "[footer.row_group(g).column(c) for g in range(footer.num_row_groups) for c in range(footer.num_columns)]"
)


def most_bytes(side: int) -> int:
    """Upper bound in bytes for an encoded image of this side: even noise as PNG is hardly larger than its pixels."""
    return 4 * min(max(side, 0), LARGEST_SIDE) ** 2 + CELL_BYTES


def image_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height from an encoded image's header, without decoding it; None if it has no valid header."""
    if encoded.startswith(PNG_START) and zlib.crc32(encoded[12:29]) == int.from_bytes(encoded[29:33]):
        width, height = struct.unpack(">II", encoded[16:24])  # Pillow takes 0.1 ms, for each crop of each epoch
        return (width, height) if width and height else None
    try:
        with Image.open(BytesIO(encoded), formats=("PNG", "JPEG", "WEBP")) as opened:
            return opened.size
    except Exception:  # Pillow does not document all exceptions that damaged headers raise
        return None


def image_fault(encoded: bytes, mode: str) -> str | None:
    """Why other programs may read other pixels or bytes of an image than this one; None if not, or if it is damaged.

    Args:
        mode: Pillow's name of the expected kind of pixels: `RGB` or `L`.
    """
    try:
        with Image.open(BytesIO(encoded), formats=("PNG", "JPEG", "WEBP")) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                return "has several frames"
            if opened.getexif().get(ORIENTATION, 1) != 1:
                return "is marked as rotated"
            if COLOURS & opened.info.keys():
                return "has a colour profile"
            if opened.mode != mode:
                return f"is stored as {opened.mode}, not {mode}"
            return None if _ends_well(encoded, opened.format) else "does not end where its format ends"
    except Exception:  # as in `image_size`
        return None


def _ends_well(encoded: bytes, image_format: str | None) -> bool:
    """Whether the last bytes are those that end an image of the format."""
    if image_format == "WEBP":
        return int.from_bytes(encoded[4:8], "little") + 8 == len(encoded)
    return encoded.endswith({"PNG": b"\0\0\0\0IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}[image_format or ""])


@contextmanager
def open_parquet(path: Path, **options: object) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file without Arrow's threads.

    Raises:
        ValueError: it is not a regular file.
        OSError, pa.ArrowException: it cannot be read.
        MemoryError: memory is short. A damaged file may ask for more than any system has, which Arrow tells likewise.
    """
    refuse_special_file(path)
    try:
        with pq.ParquetFile(path, pre_buffer=False, **options) as file:  # type: ignore[arg-type]
            yield file
    except pa.ArrowMemoryError as error:
        if memory_is_short():
            raise MemoryError(str(error)) from error
        raise


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a whole table of records; repeated strings share storage until a column is accessed.

    Raises:
        ManifestError: a column is missing or mistyped.
        ValueError: it is not a regular file, or has values of implausible size.
        OSError, pa.ArrowException: it cannot be read.
    """
    with open_parquet(path) as file:
        there = {field.name: field.type for field in file.schema_arrow}
    words = [name for name, kind in there.items() if pa.types.is_string(kind) and name in schema.names]
    with open_parquet(path, read_dictionary=words) as file:
        check_cells(file, CELL_BYTES)
        table = file.read([name for name in schema.names if name in there])
        table.validate(full=True)  # detects invalid UTF-8 and invalid list offsets
        return conform(table, schema)


def check_cells(file: pq.ParquetFile, cell_bytes: int, columns: frozenset[str] | None = None) -> None:
    """Reject a file in which a column takes more than `cell_bytes` bytes per row.

    Args:
        columns: names of the columns to check; by default all.

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


def survives_footer(path: Path) -> bool:
    """Whether a process survives reading what the footer says of each column: for some damage, Arrow aborts it."""
    return subprocess.run([sys.executable, "-c", _WALK, path], capture_output=True, check=False).returncode >= 0


def content_of(path: Path) -> bytes:
    """The bytes of a regular file of limited size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not a regular file.
    """
    refuse_special_file(path)
    if path.stat().st_size > LONGEST_DOCUMENT:
        raise ValueError(f"it has {path.stat().st_size} bytes")
    return path.read_bytes()
