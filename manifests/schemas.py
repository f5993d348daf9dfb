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
from typing import Any, TypeVar, cast, get_type_hints

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


def _required(name: str, kind: pa.DataType) -> "pa.Field[Any]":
    return pa.field(name, kind, nullable=False)


def _strings() -> pa.DataType:
    return pa.list_(_required("item", pa.string()))


def _floats(size: int, kind: pa.DataType) -> pa.DataType:
    """A vector of `size` non-null numbers."""
    return pa.list_(_required("item", kind), size)


VIDEOS = pa.schema(
    [
        _required("video_id", pa.string()),
        _required("dataset", pa.string()),
        _required("method", pa.string()),
        _required("label", pa.int8()),
        _required("quality", pa.string()),
        _required("split", pa.string()),
        _required("root", pa.string()),
        _required("path", pa.string()),
        pa.field("source_id", pa.string()),
        _required("subject_ids", _strings()),
        pa.field("mask_path", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("content_hash", pa.string()),
        pa.field("fake_periods", pa.list_(_required("item", _floats(2, pa.float64())))),
        _required("attributes", _strings()),
        pa.field("content", pa.string()),
    ]
)
"""videos.parquet: a row per `VideoEntry`."""

SAMPLES = pa.schema(
    [
        _required("sample_id", pa.string()),
        _required("video_id", pa.string()),
        _required("dataset", pa.string()),
        _required("method", pa.string()),
        _required("label", pa.int8()),
        _required("quality", pa.string()),
        _required("split", pa.string()),
        pa.field("source_id", pa.string()),
        _required("subject_ids", _strings()),
        _required("frame_index", pa.int32()),
        _required("pts_s", pa.float64()),
        pa.field("pair_offset", pa.int32()),
        _required("track_id", pa.int32()),
        _required("bbox", _floats(4, pa.float32())),
        _required("landmarks", _floats(10, pa.float32())),
        _required("score", pa.float32()),
        _required("affine", _floats(6, pa.float64())),
        _required("crop_size", pa.int32()),
        _required("mask_kind", pa.string()),
        pa.field("mask_coverage", pa.float32()),
        pa.field("mask_iou", pa.float32()),
        _required("label_source", pa.string()),
        pa.field("difference", pa.float32()),
        _required("shard", pa.string()),
        _required("row", pa.int32()),
        _required("image_sha256", pa.string()),
        _required("attributes", _strings()),
    ]
)
"""samples.parquet: a row per `SampleRecord`."""

FAILURES = pa.schema(
    [
        _required("video_id", pa.string()),
        _required("stage", pa.string()),
        _required("reason", pa.string()),
        _required("message", pa.string()),
        _required("frames", pa.int32()),
        _required("retryable", pa.bool_()),
    ]
)
"""failures.parquet: a row per `FailureRecord`."""

FACES = pa.schema(
    [
        _required("key", pa.string()),
        _required("video_id", pa.string()),
        _required("frame_index", pa.int32()),
        _required("boxes", pa.list_(_required("item", _floats(4, pa.float32())))),
        _required("landmarks", pa.list_(_required("item", _floats(10, pa.float32())))),
        _required("scores", pa.list_(_required("item", pa.float32()))),
    ]
)
"""faces.parquet: a row per `FrameFaces`."""

FACTS = pa.schema(
    [
        _required("video_id", pa.string()),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("frames", pa.int32()),
        _required("fps", pa.float64()),
        _required("variable_rate", pa.bool_()),
        _required("codec", pa.string()),
        _required("rotation", pa.int32()),
        _required("pixel_aspect", pa.float64()),
        _required("interlaced", pa.bool_()),
        _required("colour_matrix", pa.int32()),
        _required("colour_range", pa.int32()),
        _required("cuts", pa.list_(_required("item", pa.int32()))),
        pa.field("alignment", pa.string()),
        pa.field("residual", pa.float32()),
        pa.field("coded_width", pa.int32()),
        pa.field("coded_height", pa.int32()),
        pa.field("colour_primaries", pa.int32()),
        pa.field("colour_transfer", pa.int32()),
        pa.field("profile", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("longest_gap_s", pa.float64()),
        pa.field("size_bytes", pa.int64()),
        pa.field("content_hash", pa.string()),
    ]
)
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
