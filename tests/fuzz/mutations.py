"""Ways to damage a file: of its bytes, of its values where it is JSON, YAML or Parquet."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

__all__ = ["damage"]

ODD: tuple[Any, ...] = (
    *(None, True, "", "x" * 5000, "../../etc/passwd", "\x1b[2J[/x]", [], {}, [[1]]),
    *(-1, 0, 2, 2**31, 2**63 - 1, 10**30, -0.5, 1e308, float("nan"), float("inf")),
)
"""Values that stand where others should."""


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in one way, drawn by `rng`; returns what was done."""
    ways: list[Callable[[Path, np.random.Generator], str]] = [_flip, _flip, _cut, _blank, _grow, _replace]
    if path.suffix in (".json", ".yaml"):
        ways += [_odd_value] * 6
    if path.suffix in (".parquet", ""):
        ways += [_odd_cell, _odd_cell, _reorder]
    return f"{path.name}: {ways[rng.integers(len(ways))](path, rng)}"


def _flip(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    places = rng.integers(len(content), size=int(rng.integers(1, 9))) if content else []
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"bits flipped at {list(map(int, places))}"


def _cut(path: Path, rng: np.random.Generator) -> str:
    size = int(rng.integers(path.stat().st_size + 1))
    os.truncate(path, size)
    return f"cut to {size}"


def _blank(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    start, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 2000))
    content[start : start + length] = bytes(len(content[start : start + length]))
    path.write_bytes(content)
    return f"{length} zeros at {start}"


def _grow(path: Path, rng: np.random.Generator) -> str:
    with path.open("ab") as file:
        file.write(rng.bytes(100))
    return "100 bytes more"


def _replace(path: Path, rng: np.random.Generator) -> str:
    contents = (b"", b"[" * 50_000, b"{}", b"[]", b"null", b"PK\x03\x04", b"PAR1PAR1", b"\xff\xfe", None)
    content = contents[rng.integers(len(contents))]
    path.unlink()
    if content is None:
        os.mkfifo(path)
        return "a pipe"
    path.write_bytes(content)
    return f"{content[:9]!r} instead"


def _odd_value(path: Path, rng: np.random.Generator) -> str:
    """Put an odd value anywhere in a tree of plain values."""
    read, write = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    tree = read(path.read_text())
    places = list(_places(tree))
    node, key = places[rng.integers(len(places))]
    node[key] = ODD[rng.integers(len(ODD))]
    path.write_text(write(tree))
    return f"{key} = {str(node[key])[:20]!r}"


def _places(node: Any) -> Any:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def _odd_cell(path: Path, rng: np.random.Generator) -> str:
    """Put an odd value into a cell, in its column's type where that holds it, else in its own."""
    table = pq.read_table(path)
    name, row = str(rng.choice(table.column_names)), int(rng.integers(len(table)))
    values, value = table[name].to_pylist(), ODD[rng.integers(len(ODD))]
    values[row] = value
    for kind, cells in ((table.schema.field(name).type, values), (None, values), (None, map(str, values))):
        try:  # a struct without fields is a type that no Parquet file has
            pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(cells, kind)), path)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            continue
        break
    return f"{name}[{row}] = {str(value)[:20]!r}"


def _reorder(path: Path, rng: np.random.Generator) -> str:
    table = pq.read_table(path)
    pq.write_table(table.take(rng.integers(len(table), size=len(table))), path)
    return "rows drawn anew"
