"""Reading tables that people write: CSV or Parquet, every value as text."""

from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from facemill import ManifestError
from facemill.manifests.scanning.listing import open_file

__all__ = ["read_table"]


def read_table(place: str, columns: Sequence[str], required: set[str]) -> list[dict[str, str | None]]:
    """The table's rows; every one of `columns` is there, as text or None, and others are passed over.

    Args:
        place: local path or fsspec URL, `.parquet` or else a CSV.

    Raises:
        ManifestError: the file cannot be read, or lacks a required column.
    """
    try:
        with open_file(place) as file:
            table = pq.read_table(file) if place.lower().endswith(".parquet") else _read_csv(file, columns)
        if lacking := sorted(required - set(table.column_names)):
            wanted = " and ".join(sorted(required, key=list(columns).index))
            raise ManifestError(f"{place} lacks the column {' and '.join(lacking)}: it needs {wanted}.")
        known = [name for name in columns if name in table.column_names]
        values = [pc.cast(table[name], pa.string()).to_pylist() for name in known]
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{place} is not a readable table ({error}): give a CSV or Parquet file.") from error
    return [dict.fromkeys(columns) | dict(zip(known, row, strict=True)) for row in zip(*values, strict=True)]


def _read_csv(file: IO[bytes], columns: Sequence[str]) -> pa.Table:
    as_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()), null_values=[""], strings_can_be_null=True
    )
    return pyarrow.csv.read_csv(file, convert_options=as_text)
