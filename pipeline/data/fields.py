"""The fields of samples besides image, label and index: which there are, and their values.

mask: the forgery mask, and with it `has_mask`.
pair: int64; equal for the crop of a real face and the crops of the same face and frame in its fakes.
subject: int64; equal for crops that are known to show the same subject, or else of the same video.
landmarks: float32 [5, 2], in pixels of the crop, in the order of `SampleRecord`; augmentation moves them too.
Any other column of samples.parquet, annotations among them: numbers as int64 or float32 (NaN if not known), vectors as
float32 [N], text as int64 codes into `FaceDataset.categories` (-1 if not known).
An image annotation: uint8 [C, h, w].

Batches to which `facemill.pipeline.data.forge` adds forgeries may have the field `xray` too, of which a dataset has
none: uint8 [1, S, S], and as a mask between 0 and 1 once prepared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.annotations import image_names
from facemill.pipeline.data.split import Split
from facemill.registry import nearest

pc: Any = pyarrow.compute  # untyped: the stubs do not support nulls

__all__ = ["DENSE", "LANDMARKS", "MASK", "PAIR", "SUBJECT", "images_of", "numbered", "pairs", "subjects", "values_of"]

LANDMARKS = "landmarks"
DENSE = "landmarks68_points"
"""The column of the annotator `landmarks68`, float32 [136]."""
MASK = "mask"
PAIR = "pair"
SUBJECT = "subject"

Values = NDArray[np.generic]
Categories = Mapping[str, list[str]]


def images_of(split: Split, fields: Sequence[str]) -> list[str]:
    """Names of the images to read for these fields.

    Raises:
        DatasetError: for a field that the dataset does not have.
    """
    more = image_names(split.annotations)
    columns = [field.name for field in split.samples.schema if not pa.types.is_list(field.type)]  # texts
    known = [MASK, PAIR, SUBJECT, *columns, *more]
    for name in fields:
        if name not in known:
            raise DatasetError(
                f"The dataset has no field {name!r} to load{nearest(name, known)}: it has {', '.join(known)}."
            )
    return ["image", *(name for name in dict.fromkeys(fields) if name == MASK or name in more)]


def values_of(split: Split, fields: Sequence[str]) -> tuple[dict[str, Values], Categories]:
    """Values of the fields that are not images, by name, [N, ...] in the order of the samples; and words of codes."""
    values: dict[str, Values] = {}
    categories: dict[str, list[str]] = {}
    for name in fields:
        if name == MASK:
            values["has_mask"] = split.has_mask
        elif name == PAIR:
            values[name] = pairs(split.samples)
        elif name == SUBJECT:
            values[name] = subjects(split.samples)
        elif name == LANDMARKS:
            values[name] = _landmarks(split.samples)
        elif name in split.samples.column_names:
            values[name], words = _to_numbers(split.samples[name])
            if words is not None:
                categories[name] = words
    return values, categories


def pairs(samples: pa.Table) -> NDArray[np.int64]:
    """A number for each row, equal for a real crop and those of the same face and frame in its fakes, [rows]."""
    original = pc.coalesce(samples["source_id"], samples["video_id"])
    frame = pc.subtract(samples["frame_index"], pc.fill_null(samples["pair_offset"], 0))
    table = samples.select(["dataset", "track_id"]).append_column("original", original).append_column("frame", frame)
    return numbered(table, *table.column_names)


def numbered(table: pa.Table, *columns: str) -> NDArray[np.int64]:
    """A number for each row, equal for rows that are equal in these columns, [rows]."""
    encoded: list[Any] = [table[name].combine_chunks().dictionary_encode() for name in columns]
    codes = np.stack([column.indices.to_numpy() for column in encoded], 1)
    numbers: NDArray[np.int64] = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def subjects(samples: pa.Table) -> NDArray[np.int64]:
    """A number for each row, equal for rows of the same first subject, or of the same video if it is not known."""
    lists = samples["subject_ids"].combine_chunks()
    names = samples["video_id"].to_numpy().astype(object)
    known = pc.list_slice(lists, 0, 1).flatten().to_numpy(zero_copy_only=False)
    names[pc.list_value_length(lists).to_numpy() > 0] = known
    table = samples.select(["dataset"]).append_column("subject", pa.array(names, pa.string()))
    return numbered(table, *table.column_names)


def _landmarks(samples: pa.Table) -> NDArray[np.float32]:
    table: Any = samples
    points = np.asarray(table["landmarks"].combine_chunks().flatten()).reshape(-1, 5, 2)
    affine = np.asarray(table["affine"].combine_chunks().flatten()).reshape(-1, 2, 3)
    moved = points @ affine[:, :, :2].transpose(0, 2, 1) + affine[:, None, :, 2]
    return np.asarray(moved, np.float32)


def _to_numbers(column: "pa.ChunkedArray[Any]") -> tuple[Values, list[str] | None]:
    """A column's values as numbers, and the words of codes if it is text."""
    kind = column.type
    if pa.types.is_string(kind):
        words = sorted(pc.unique(column.drop_null()).to_pylist())
        codes = pc.index_in(column, value_set=pa.array(words, pa.string())).fill_null(-1)
        return codes.to_numpy().astype(np.int64), words
    if pa.types.is_fixed_size_list(kind):
        rows = [np.full(kind.list_size, np.nan) if row is None else row for row in column.to_pylist()]
        return np.array(rows, np.float32).reshape(-1, kind.list_size), None
    if pa.types.is_integer(kind) and not column.null_count:
        return column.to_numpy().astype(np.int64), None
    return column.cast(pa.float32()).to_numpy().astype(np.float32), None
