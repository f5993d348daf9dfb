"""The rows of samples.parquet, filtered, sorted and read by page, in memory that a row adds some 80 bytes to."""

import re
import shlex
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemill import ConfigError
from facemill.manifests.annotations import PLACE
from facemill.manifests.exclusion import sample_id_of
from facemill.manifests.schemas import SAMPLES, conform
from facemill.manifests.shards.dataset import SAMPLES_FILE, damage_told, has_true_places, read_dataset
from facemill.registry import nearest

pc: Any = pyarrow.compute
"""Untyped: the stubs lack functions on dictionaries."""

__all__ = ["DETECTOR_SCORE", "FACE_SIZE", "Catalogue"]

DETECTOR_SCORE = "detector_score"
"""Column of an evaluation's scores."""
FACE_SIZE = "face_size"
"""Column of the shorter side of the face box, source pixels."""
KEPT_ORDERS = 8
"""Filtered and sorted orders that are kept: 4 bytes per row and order."""
_WORDS = ("video_id", "source_id", "method", "quality", "split", "mask_kind", "shard")
_NUMBERS = ("label", "frame_index", "track_id", "pair_offset", "row")
_TERM = re.compile(r"(\w+)(!=|<=|>=|=|<|>|~)(.*)", re.DOTALL)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}

Column = Any
"""An Arrow array; text that is held is dictionary-encoded."""


class Catalogue:
    """The samples of a built dataset, numbered in the order of samples.parquet.

    What the gallery shows of every crop is held in memory; other columns are read when a filter, an order or the page
    of one sample needs them. May be used by several threads.

    Args:
        root: folder of the dataset.
        scores: scores of a detector by sample id, which become the column `detector_score`.

    Attributes:
        info: the content of dataset.json.
        columns: names of the columns to filter and sort by.

    Raises:
        DatasetError: the dataset is not finished, or is damaged.
    """

    def __init__(self, root: Path, scores: tuple["pa.Array[Any]", "pa.Array[Any]"] | None = None) -> None:
        self.root, self.info, self._path = root, read_dataset(root), root / SAMPLES_FILE
        with damage_told(self._path), pq.ParquetFile(self._path) as file:
            conform(file.schema_arrow.empty_table(), SAMPLES)
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            self._starts = np.cumsum([0, *groups])
            fields = {field.name: field.type for field in file.schema_arrow}
            placed = has_true_places(self._path, self.info.shards)
        self._held: dict[str, Column] = {name: self._read(name) for name in (*_WORDS, *_NUMBERS)}
        for name in ("image", "mask") if placed else ():
            self._held[name] = self._read(name)
        if scores is not None:
            at = pc.index_in(self._read("sample_id"), value_set=scores[0])
            self._held[DETECTOR_SCORE] = pc.take(scores[1], at).cast(pa.float32())
        plain = [name for name, kind in fields.items() if not isinstance(kind, pa.FixedSizeListType | pa.StructType)]
        self.columns = (*plain, FACE_SIZE, *((DETECTOR_SCORE,) if scores is not None else ()))
        self._orders: OrderedDict[tuple[str, str, bool], NDArray[np.int32]] = OrderedDict()
        self._lock = RLock()
        self._recent = lru_cache(2)(self._read)

    def __len__(self) -> int:
        return int(self._starts[-1])

    # Pages ------------------------------------------------------------------------------------------------

    def page(self, start: int, count: int, terms: str = "", sort: str = "", *, falling: bool = False) -> dict[str, Any]:
        """Rows of a filtered and sorted list.

        Args:
            terms: what must hold: `column=value`, also with !=, <, <=, >, >= and ~ (contains), separated by spaces;
                a word alone is searched for in sample ids. Values with spaces are quoted, an empty one is a null.
            sort: a column; empty for the order of samples.parquet. Nulls come last.

        Returns:
            `total`, the length of the list, and `rows`: see `rows`.

        Raises:
            ConfigError: for a term or column that does not exist.
        """
        order = self._order(terms, sort, falling)
        rows = order[start : start + count]
        listed = self.rows(rows)
        if sort:
            for row, value in zip(listed, self._column(sort).take(pa.array(rows)).to_pylist(), strict=True):
                row["value"] = value
        return {"total": len(order), "rows": listed}

    def rows(self, numbers: Sequence[int] | NDArray[Any]) -> list[dict[str, Any]]:
        """What is held of samples, by column; with `number`, `sample_id`, and a `detector_score` if there is one."""
        at = pa.array(np.asarray(numbers, np.int64))
        columns = {name: column.take(at).to_pylist() for name, column in self._held.items() if name not in PLACES}
        listed = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for number, row in zip(at.to_pylist(), listed, strict=True):
            row |= {"number": number, "sample_id": sample_id_of(row["video_id"], row["frame_index"], row["track_id"])}
        return listed

    def place(self, number: int, name: str) -> tuple[str, int, tuple[int, int] | None]:
        """Shard and row of a sample, and the first byte and size of its `image` or `mask`; None if not recorded."""
        held = self._held
        place = held[name][number].as_py() if name in held else None
        found = None if place is None or place["size"] is None else (place["offset"], place["size"])
        return held["shard"][number].as_py(), held["row"][number].as_py(), found

    def sample(self, number: int) -> dict[str, Any]:
        """All columns of a sample; `counterparts`: samples of its original or fakes, of the same face and frame."""
        group = int(np.searchsorted(self._starts, number, "right")) - 1
        with damage_told(self._path), pq.ParquetFile(self._path) as file:
            table = file.read_row_group(group, use_threads=False).slice(number - int(self._starts[group]), 1)
        [values] = table.drop_columns([name for name in PLACES if name in table.column_names]).to_pylist()
        return {**self.rows([number])[0], **values, "counterparts": self.rows(self._counterparts(number))}

    def of_video(self, video_id: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The samples of a video with further columns, in the order of frames."""
        numbers = self._where("video_id", video_id)
        listed = self.rows(numbers)
        with damage_told(self._path), pq.ParquetFile(self._path) as file:
            for group in np.unique(np.searchsorted(self._starts, numbers, "right")) - 1:
                table = file.read_row_group(int(group), list(columns), use_threads=False)
                start, end = self._starts[group : group + 2]
                here = [row for row in listed if start <= row["number"] < end]
                at = pa.array([row["number"] - int(start) for row in here], pa.int64())
                for row, values in zip(here, table.take(at).to_pylist(), strict=True):
                    row |= values
        return sorted(listed, key=lambda row: (row["frame_index"], row["track_id"]))

    def fewest(self, video_ids: "pa.Array[Any]", most: int) -> list[dict[str, Any]]:
        """The videos with the fewest samples, of these ids and of all that have samples: `video_id` and `samples`."""
        column = self._held["video_id"]
        without = video_ids.filter(pc.invert(pc.is_in(video_ids, value_set=column.dictionary)))[:most]
        counts = np.bincount(np.asarray(column.indices), minlength=len(column.dictionary))
        lowest = np.argsort(counts, kind="stable")[: most - len(without)].tolist()
        found = [(one, 0) for one in without.to_pylist()]
        found += [(column.dictionary[code].as_py(), int(counts[code])) for code in lowest]
        return [{"video_id": video_id, "samples": count} for video_id, count in found]

    def _counterparts(self, number: int) -> NDArray[np.int64]:
        [one] = self.rows([number])
        if one["pair_offset"] is not None and one["source_id"] is not None:
            others, frame = self._where("video_id", one["source_id"]), one["frame_index"] - one["pair_offset"]
        else:
            others, frame = self._where("source_id", one["video_id"]), one["frame_index"]
        found = [
            row["number"]
            for row in self.rows(others)
            if row["track_id"] == one["track_id"]
            and row["frame_index"] - (row["pair_offset"] or 0 if one["label"] == 0 else 0) == frame
        ]
        return np.array(found, np.int64)

    def _where(self, name: str, word: str) -> NDArray[np.int64]:
        column = self._held[name]
        code = column.dictionary.index(word).as_py()
        return np.flatnonzero(np.asarray(column.indices.fill_null(-1)) == code) if code >= 0 else np.empty(0, np.int64)

    # Orders -----------------------------------------------------------------------------------------------

    def _order(self, terms: str, sort: str = "", falling: bool = False) -> NDArray[np.int32]:
        key = (terms, sort, falling)
        with self._lock:
            if key not in self._orders:
                if sort:
                    stored = self._order(terms)
                    column = self._column(sort)
                    column = column if len(stored) == len(self) else column.take(pa.array(stored))
                    self._orders[key] = stored[_positions(column, falling)]
                else:
                    self._orders[key] = np.flatnonzero(self._chosen(terms)).astype(np.int32)
                if len(self._orders) > KEPT_ORDERS:
                    self._orders.popitem(last=False)
            self._orders.move_to_end(key)
            return self._orders[key]

    def _chosen(self, terms: str) -> NDArray[np.bool_]:
        try:
            words = shlex.split(terms)
        except ValueError:
            raise ConfigError("A quotation mark of the filter is not closed: close it.") from None
        chosen = np.ones(len(self), np.bool_)
        for word in words:
            matched = _TERM.fullmatch(word)
            name, sign, value = matched.groups() if matched else ("sample_id", "~", word)
            chosen &= _holds(name, self._column(name), sign, value)
        return chosen

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise ConfigError(f"There is no column {name!r}{nearest(name, self.columns)}: use one of {known}.")
        return self._held[name] if name in self._held else self._recent(name)

    def _read(self, name: str) -> Column:
        stored = "bbox" if name == FACE_SIZE else name
        with damage_told(self._path):
            table = pq.read_table(self._path, columns=[stored])
            if stored in SAMPLES.names:
                table = conform(table, pa.schema([SAMPLES.field(stored)]))
            elif stored in PLACES and table.schema.field(stored).type != PLACE:
                raise ValueError(f"its places of {stored} have another type")
        column: Any = table[stored].combine_chunks()
        if name == FACE_SIZE:
            box = column.flatten().to_numpy().reshape(-1, 4)
            return pa.array((box[:, 2:] - box[:, :2]).min(axis=1))
        if pa.types.is_list(column.type):
            column = pc.binary_join(column.cast(pa.list_(pa.string())), ", ")
        if name in _WORDS:
            return pc.dictionary_encode(column)
        return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column


PLACES = ("image", "mask")


def _holds(name: str, column: Column, sign: str, value: str) -> NDArray[np.bool_]:
    """Where a term holds, [N]; a comparison with a null does not."""
    if value == "" and sign in ("=", "!="):
        null = np.asarray(pc.is_null(column))
        return null if sign == "=" else ~null
    if isinstance(column, pa.DictionaryArray):
        there = np.append(_holds(name, column.dictionary, sign, value), False)
        return np.asarray(there[np.asarray(column.indices.fill_null(-1))])
    if pa.types.is_string(column.type):
        found = (
            pc.match_substring(column, value, ignore_case=True) if sign == "~" else _COMPARISONS[sign](column, value)
        )
        return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False))
    if sign == "~":
        raise ConfigError(f"{name} is a column of numbers, which ~ does not search: use = or <.")
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"{name} is a column of numbers, and {value!r} is none: write a number.") from None
    compared = pa.scalar(number, column.type if pa.types.is_floating(column.type) else pa.float64())
    return np.asarray(_COMPARISONS[sign](column, compared).fill_null(False).to_numpy(zero_copy_only=False))


def _positions(column: Column, falling: bool) -> NDArray[Any]:
    """Positions [N] in the order of a column's values: equal ones as they are stored, nulls last."""
    if isinstance(column, pa.DictionaryArray):
        ranks = np.zeros(len(column.dictionary) + 1, np.int32)
        ranks[np.asarray(pc.sort_indices(column.dictionary))] = np.arange(len(column.dictionary))
        bits = ranks[np.asarray(column.indices.fill_null(-1))]
    elif pa.types.is_float32(column.type):
        bits = column.fill_null(0).to_numpy().view(np.int32)
        bits = bits ^ (bits >> 31 & 0x7FFFFFFF)  # rises as the number does
    elif pa.types.is_integer(column.type) and column.type.bit_width <= 32:
        bits = column.fill_null(0).cast(pa.int32()).to_numpy()
    else:
        return np.asarray(pc.array_sort_indices(column, order="descending" if falling else "ascending"))
    # One sort of whole numbers, value before position, takes a third of the time of a stable one.
    keys = (~bits if falling else bits).astype(np.int64)
    keys[np.asarray(pc.is_null(column, nan_is_null=True))] = (1 << 31) - 1
    keys = keys << 32 | np.arange(len(keys))
    keys.sort()
    return np.asarray(keys & 0xFFFFFFFF)
