"""Operations on columns that several checks use."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facemill.manifests.problem import SHOWN

__all__ = [
    "Column",
    "Converted",
    "Mask",
    "broken_rows",
    "codes",
    "first_rows",
    "joined",
    "mask",
    "pc",
    "places",
    "words",
]

pc: Any = pyarrow.compute
"""Untyped: the stubs support neither columns of two types nor nulls."""

Column = Any  # pa.ChunkedArray or pa.Array: the stubs have no common type
Mask = NDArray[np.bool_]


def codes(values: Column) -> NDArray[np.int64]:
    """Number of each value [N]: equal values have the same one, in order of their first appearance."""
    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.asarray(pc.dictionary_encode(combined).indices.to_numpy(), np.int64)


def places(values: Column, among: Column) -> NDArray[np.int64]:
    """Position of each value in another column, -1 if it is not there or null, [N]."""
    found = pc.index_in(values, value_set=among, skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def mask(values: Column) -> Mask:
    """A column of truth values as an array, nulls as false, [N]."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def words(column: Column) -> set[str]:
    """The distinct values of a column of strings."""
    return {str(word) for word in pc.unique(column).to_pylist()}


def joined(first: Column, *numbers: Column) -> Column:
    """Keys made of a column of strings and columns of numbers, such as a video and a frame index."""
    return pc.binary_join_element_wise(first, *(pc.cast(column, pa.string()) for column in numbers), "/")


def first_rows(group: NDArray[np.int64], among: Mask) -> NDArray[np.intp]:
    """The first row in `among` of each group that has one, by ascending group."""
    positions = np.flatnonzero(among)
    return positions[np.unique(group[positions], return_index=True)[1]]


def broken_rows(broken: Mask) -> Iterator[tuple[int, int]]:
    """The rows to list of those that break a rule, each with the number of others that are not listed.

    If more than `SHOWN` rows break it, only the first is listed.
    """
    positions = np.flatnonzero(broken)
    shown = positions if len(positions) <= SHOWN else positions[:1]
    for position in shown.tolist():
        yield position, len(positions) - len(shown)


class Converted:
    """A column whose values are converted to Python when they are shown in a message."""

    def __init__(self, column: Column, convert: Callable[[Any], Any]) -> None:
        self._column, self._convert = column, convert

    def __getitem__(self, position: int) -> Any:
        return self._convert(self._column[position].as_py())
