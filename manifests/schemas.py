"""Arrow schemas of facemill's files, and conversion between their tables and the records.

A schema has a column per field of its dataclass, in field order; each annotation of a sample has a column.
Coordinates are float32 (a detector is not more precise), the affine is float64 (it is inverted and composed).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facemill import ManifestError
from facemill.manifests.records import FailureRecord, FrameFaces, SampleRecord, VideoEntry, VideoFacts

__all__ = [
    "FACES",
    "FACTS",
    "FAILURES",
    "SAMPLES",
    "VIDEOS",
    "conform",
    "first_of_each",
    "from_table",
    "rounded",
    "to_table",
]

Record = TypeVar("Record", VideoEntry, SampleRecord, FailureRecord, FrameFaces, VideoFacts)

_PLAIN: dict[Any, pa.DataType] = {str: pa.string(), bool: pa.bool_(), int: pa.int32(), float: pa.float64()}


def _listed(kind: pa.DataType, size: int = -1) -> pa.DataType:
    """A list of non-null values, or a vector of `size` of them."""
    return pa.list_(pa.field("item", kind, nullable=False), size)


def _column_type(kind: Any) -> pa.DataType:
    """Type of the column of a field: tuples of one length are vectors, codes are strings."""
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        return _listed(_column_type(first), -1 if ... in others else 1 + len(others))
    return pa.string() if issubclass(kind, StrEnum) else _PLAIN[kind]


def _schema_of(record_class: type, **columns: pa.DataType) -> pa.Schema:
    """Schema of records, with a column per field, nullable if the field may be None.

    Args:
        columns: types of columns that their fields do not tell.
    """
    fields = []
    for name, kind in get_type_hints(record_class).items():
        nullable = NoneType in get_args(kind)
        if name != "annotations":
            stored = columns.get(name) or _column_type(get_args(kind)[0] if nullable else kind)
            fields.append(pa.field(name, stored, nullable))
    return pa.schema(fields)


_BOX, _LANDMARKS = _listed(pa.float32(), 4), _listed(pa.float32(), 10)

VIDEOS = _schema_of(VideoEntry, label=pa.int8(), size_bytes=pa.int64())
"""videos.parquet: a row per `VideoEntry`."""
SAMPLES = _schema_of(
    SampleRecord,
    **{"label": pa.int8(), "bbox": _BOX, "landmarks": _LANDMARKS, "affine": _listed(pa.float64(), 6)},
    **dict.fromkeys(("score", "mask_coverage", "mask_iou", "difference"), pa.float32()),
)
"""samples.parquet: a row per `SampleRecord`."""
FAILURES = _schema_of(FailureRecord)
"""failures.parquet: a row per `FailureRecord`."""
FACES = _schema_of(FrameFaces, boxes=_listed(_BOX), landmarks=_listed(_LANDMARKS), scores=_listed(pa.float32()))
"""faces.parquet: a row per `FrameFaces`."""
FACTS = _schema_of(VideoFacts, residual=pa.float32(), size_bytes=pa.int64())
"""facts.parquet: a row per `VideoFacts`."""

ADDED: dict[str, str | None] = {"label_source": "video", "difference": None}
"""Columns of samples that format version 1 lacks, and the values used when it is read."""
LATER: dict[str, Any] = {
    "attributes": (),
    "fake_periods": None,
    "content": None,
    **dict.fromkeys(FACTS.names[FACTS.names.index("coded_width") :]),
}
"""The same for columns that a table of any format version may lack."""

_SCHEMAS: dict[type, pa.Schema] = {
    VideoEntry: VIDEOS,
    SampleRecord: SAMPLES,
    FailureRecord: FAILURES,
    FrameFaces: FACES,
    VideoFacts: FACTS,
}


def to_table(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """Convert the records to a table of exactly `schema`, one row each, in order."""
    known = _SCHEMAS[type(records[0])].names if records else schema.names
    columns = [
        pa.array(map(attrgetter(field.name) if field.name in known else _annotation(field.name), records), field.type,
                 size=len(records))
        for field in schema
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=schema)


def _annotation(name: str) -> Callable[[Any], Any]:
    return lambda record: record.annotations.get(name)


def from_table(table: pa.Table, record_class: type[Record]) -> list[Record]:
    """Convert the rows of `table` to records: lists become tuples, codes become members of their enum.

    Additional columns of samples are annotations, except images, which are structs. Equal strings of a column
    are one object, which halves the memory of a large manifest.

    Raises:
        ManifestError: a column is missing, has a wrong type or a forbidden null, or a code is unknown.
    """
    schema = _SCHEMAS[record_class]
    more: list[str] = []
    if record_class is SampleRecord:
        more = [f.name for f in table.schema if f.name not in schema.names and not pa.types.is_struct(f.type)]
    annotations = {name: _to_python(table[name].combine_chunks()) for name in more}
    table = conform(table, schema)
    types = get_type_hints(record_class)
    columns = []
    for name in table.column_names:
        values = _to_python(table[name].combine_chunks())
        if isinstance(types[name], type) and issubclass(types[name], StrEnum):
            values = _to_members(name, values, types[name])
        columns.append(values)
    if annotations:
        rows = zip(*annotations.values(), strict=True)
        columns.append([{name: v for name, v in zip(annotations, row, strict=True) if v is not None} for row in rows])
    return list(map(record_class, *columns))


def rounded(record: SampleRecord, schema: pa.Schema) -> SampleRecord:
    """The record as it is read again from samples.parquet of this schema: numbers rounded to their stored types.

    As `from_table` of `to_table`, which takes 1 ms a record.
    """
    stored = _stored_types(schema)
    given = {name: getattr(record, name) for name in stored.keys() & set(SAMPLES.names)}
    given["annotations"] = {name: value for name, value in record.annotations.items() if value is not None}
    for values in (given, given["annotations"]):
        for name in values.keys() & stored.keys():
            if values[name] is not None:
                number = np.asarray(values[name], stored[name]).tolist()
                values[name] = tuple(number) if isinstance(number, list) else number
    return replace(record, **given)


@cache
def _stored_types(schema: pa.Schema) -> dict[str, Any]:
    """NumPy's types of the columns of numbers and of vectors of numbers: None for integers, which are not rounded."""
    kinds = {f.name: f.type.value_type if hasattr(f.type, "value_type") else f.type for f in schema}
    floats = {name: kind.to_pandas_dtype() for name, kind in kinds.items() if pa.types.is_floating(kind)}
    return floats | {name: None for name, kind in kinds.items() if pa.types.is_integer(kind)}


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns of `schema`, in its order and types; others are dropped, those of `ADDED` are filled in.

    Types of the same kind are converted (pandas writes int64 and large_string), others are rejected.

    Raises:
        ManifestError: names every column that is missing, has a wrong type or a forbidden null.
    """
    faults = []
    added = {**ADDED, **LATER}
    for name in added.keys() & set(schema.names) - set(table.column_names):
        filled = pa.array([added[name]] * len(table), schema.field(name).type)
        table = table.append_column(name, filled)
    for field in schema:
        if field.name not in table.column_names:
            faults.append(f"{field.name} is missing")
            continue
        column = table[field.name]
        # Other libraries write vectors as lists; the cast below rejects a list of another length.
        vector = isinstance(field.type, pa.FixedSizeListType) and _kind(column.type).startswith("list of ")
        wanted = _kind(pa.list_(field.type.value_type)) if vector else _kind(field.type)
        if _kind(column.type) != wanted and not (field.nullable and pa.types.is_null(column.type)):
            faults.append(f"{field.name} is {column.type} instead of {field.type}")
        elif column.null_count and not field.nullable:
            faults.append(f"{field.name} has {column.null_count} nulls")
    if faults:
        raise ManifestError(f"The table's columns are invalid: {', '.join(faults)}.")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, ValueError) as error:
        raise ManifestError(f"The table has a value that does not fit its column: {error}.") from error


def first_of_each(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of each table whose video no earlier table has: a reference has facts in several shards."""
    seen: set[str | None] = set()
    for table in tables:
        ids = table["video_id"].to_pylist()
        yield table.filter(pa.array([video_id not in seen for video_id in ids], pa.bool_()))
        seen.update(ids)


@cache
def _kind(kind: pa.DataType) -> str:
    """The kind of a column's values, regardless of the width of its numbers and offsets."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if isinstance(kind, pa.FixedSizeListType):
        return f"{kind.list_size} x {_kind(kind.value_type)}"
    if isinstance(kind, pa.ListType | pa.LargeListType):
        return f"list of {_kind(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_integer(kind):
        return "integer"
    return "float" if pa.types.is_floating(kind) else str(kind)


def _to_python(array: "pa.Array[Any]") -> list[Any]:
    """The array's values, with nested lists as tuples; column-wise, sharing equal strings."""
    if pa.types.is_string(array.type):
        encoded = cast("pa.DictionaryArray[Any, Any]", pc.dictionary_encode(array))
        words = [*encoded.dictionary.to_pylist(), None]
        return [words[code] for code in encoded.indices.fill_null(len(words) - 1).to_numpy().tolist()]
    if array.null_count and pa.types.is_nested(array.type):
        return [None if value is None else _tuples(value) for value in array.to_pylist()]
    if isinstance(array, pa.FixedSizeListArray):
        return list(zip(*[iter(_to_python(array.flatten()))] * array.type.list_size, strict=True))
    if isinstance(array, pa.ListArray):
        values = iter(_to_python(array.flatten()))
        seen: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        rows = (tuple(itertools.islice(values, length)) for length in pc.list_value_length(array).to_pylist())
        return [seen.setdefault(row, row) for row in rows]
    copied = array.null_count or pa.types.is_boolean(array.type)  # booleans are bits, of which numpy has no view
    return array.to_pylist() if copied else array.to_numpy().tolist()


def _tuples(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(value) if isinstance(value, list) else value for value in values)


def _to_members(name: str, values: Iterable[str], codes: type[StrEnum]) -> list[StrEnum]:
    members = {code.value: code for code in codes}
    try:
        return [members[value] for value in values]
    except KeyError as error:
        known = ", ".join(members)
        raise ManifestError(f"Column {name} contains {error.args[0]!r}, which is not one of {known}.") from None
