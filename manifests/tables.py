"""Reads user-written tables: CSV or Parquet, every value as text."""

import codecs
import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from facemill import ManifestError
from facemill.manifests.archives import open_file

__all__ = ["read_table"]

_DELIMITERS = (",", ";", "\t", "|")  # the first if the header contains none


def read_table(
    place: str, columns: Sequence[str], required: set[str], *, others: bool = False
) -> list[dict[str, str | None]]:
    """Read the table's rows, each with all of `columns` as text or None.

    Case in column names, and spaces around names and values, are ignored.

    Args:
        place: local path or fsspec URL: `.parquet`, otherwise CSV with commas, semicolons, tabs or bars.
        others: give the other columns too, as far as they hold single values; by default they are ignored.

    Raises:
        ManifestError: the file cannot be read, or lacks a required column.
    """
    try:
        with open_file(place) as file:
            table = pq.read_table(file) if place.lower().endswith(".parquet") else _read_csv(file.read())
        found = [name.strip().lower() for name in table.column_names]
        if twice := sorted({name for name in found if found.count(name) > 1 and name in columns}):
            raise ManifestError(f"{place} has the column {' and '.join(twice)} twice: keep one.")
        if lacking := sorted(required - set(found)):
            wanted = " and ".join(sorted(required, key=list(columns).index))
            what = "column" if len(lacking) == 1 else "columns"
            raise ManifestError(
                f"{place} lacks the {what} {' and '.join(lacking)}: it has {', '.join(found)}, and needs {wanted}."
            )
        known = [name for name in columns if name in found]
        if others:
            more = [name for name in found if name and found.count(name) == 1 and name not in columns]
            known += [name for name in more if not pa.types.is_nested(table.schema.types[found.index(name)])]
        texts = [pc.utf8_trim_whitespace(pc.cast(table.column(found.index(name)), pa.string())) for name in known]
    except UnicodeDecodeError as error:
        raise ManifestError(f"{place} is not UTF-8 text ({error}): save it as UTF-8.") from error
    except (pa.ArrowException, OSError, ImportError) as error:
        raise ManifestError(f"{place} is not a readable table ({error}): give a CSV or Parquet file.") from error
    values = [[value or None for value in column.to_pylist()] for column in texts]
    return [dict.fromkeys(columns) | dict(zip(known, row, strict=True)) for row in zip(*values, strict=True)]


def _read_csv(content: bytes) -> pa.Table:
    """Read every value as text; the delimiter is the one that occurs most often in the header."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # spreadsheets' "Unicode text"
        content = content.decode("utf-16").encode()
    header = content.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0].decode(errors="replace").strip("\r")
    delimiter = max(_DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    return pyarrow.csv.read_csv(
        io.BytesIO(content),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    )
