"""Ways to damage a file: of its bytes, of its values where it is a tree or a table, of its members if an archive."""

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

__all__ = ["PWNED", "damage"]

ODD: tuple[Any, ...] = (
    *(None, True, "", "x" * 5000, "../../etc/passwd", "\x1b[2J[/x]", [], {}, [[1]]),
    *(-1, 0, 2, 2**31, 2**63 - 1, 10**30, -0.5, 1e308, float("nan"), float("inf")),
)
"""Values that stand where others should."""
ODD_NAMES = (
    "../up.png",
    "/etc/up.png",
    "",
    "a" * 300 + ".png",
    "\x1b[2J.png",
    "b\udcff.png",
    "a/../b.png",
    ".",
    "x\n.png",
)
PWNED = "pwned"
"""Name of the file that a hostile checkpoint makes where it runs, if it runs."""
BOMB_BYTES = 300 << 20

Way = Callable[[Path, np.random.Generator], str]


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in one way, drawn by `rng`; returns what was done."""
    ways: list[Way] = [_flip, _flip, _cut, _blank, _grow, _replace]
    more: dict[str, list[Way]] = {
        **{suffix: [_odd_value] * 6 for suffix in (".json", ".yaml")},
        **{suffix: [_odd_cell, _odd_cell, _reorder, _drop_column] for suffix in (".parquet", "manifest")},
        ".ckpt": [*[_odd_value] * 8, _hostile],
        ".safetensors": [_odd_header] * 4,
        ".csv": [_odd_field] * 5,
        **{suffix: [_odd_member] * 6 for suffix in (".tar", ".zip", ".tgz")},
    }
    ways += more.get(path.suffix or path.name, [])
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
    if path.suffix == ".ckpt":
        tree = torch.load(path, weights_only=True)
    else:
        tree = (json.loads if path.suffix == ".json" else yaml.safe_load)(path.read_text())
    # An optimiser's state may be anything, so that only its steps show what is wrong with it.
    places = list(_places({**tree, "optimizer": None} if path.suffix == ".ckpt" else tree))
    node, key = places[rng.integers(len(places))]
    node = tree if path.suffix == ".ckpt" and key in tree else node
    odd: tuple[Any, ...] = ODD
    if torch.is_tensor(node[key]):
        odd = (*ODD, node[key] * float("nan"), node[key][None], node[key].to(torch.int8))
    node[key] = odd[rng.integers(len(odd))]
    if path.suffix == ".ckpt":
        torch.save(tree, path)
    else:
        path.write_text((json.dumps if path.suffix == ".json" else yaml.safe_dump)(tree))
    return f"{key} = {str(node[key])[:20]!r}"


def _places(node: Any) -> Any:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return open, (PWNED, "w")


def _hostile(path: Path, rng: np.random.Generator) -> str:
    torch.save({"state_dict": _Hostile(), "epoch": 0}, path)
    return "a program in place of weights"


def _odd_header(path: Path, rng: np.random.Generator) -> str:
    """Put an odd value into the header of safetensors, before which is its length."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    places = list(_places(header))
    node, key = places[rng.integers(len(places))]
    node[key] = ODD[rng.integers(len(ODD))]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    return f"{key} = {str(node[key])[:20]!r}"


def _odd_field(path: Path, rng: np.random.Generator) -> str:
    """Put an odd value into a field of a CSV file, or a field more into a line."""
    rows = list(csv.reader(path.read_text().splitlines()))
    row = rows[rng.integers(len(rows))]
    at, value = int(rng.integers(len(row))), str(ODD[rng.integers(len(ODD))])
    if rng.integers(4):
        row[at] = value
    else:
        row.insert(at, value)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"field {at} = {value[:20]!r}"


def _odd_cell(path: Path, rng: np.random.Generator) -> str:
    """Put an odd value into a cell, in its column's type where that holds it, else in its own."""
    table = pq.read_table(path)
    name, row = str(rng.choice(table.column_names)), int(rng.integers(max(1, len(table))))
    values, value = table[name].to_pylist() or [None], ODD[rng.integers(len(ODD))]
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
    pq.write_table(table.take(rng.integers(max(1, len(table)), size=len(table))), path)
    return "rows drawn anew"


def _drop_column(path: Path, rng: np.random.Generator) -> str:
    table = pq.read_table(path)
    name = str(rng.choice(table.column_names))
    pq.write_table(table.drop_columns([name]), path)
    return f"no column {name}"


def _odd_member(path: Path, rng: np.random.Generator) -> str:
    """An archive packed anew with one odd member: its name, kind, size or content."""
    kind = ("name", "twice", "link", "device", "bomb", "size", "empty")[rng.integers(7)]
    name = ODD_NAMES[rng.integers(len(ODD_NAMES))]
    members = _members_of(path)
    at = int(rng.integers(len(members)))
    own, content = members[at]
    odd = {
        "name": (name, content),
        "bomb": (own, bytes(BOMB_BYTES)),
        "empty": (own, b""),
    }.get(kind, (own, content))
    members[at : at + (kind != "twice")] = [odd]
    write = _write_zip if path.suffix == ".zip" else _write_tar
    write(path, members, {at: kind})
    return f"{kind} of {own} ({name!r})" if kind == "name" else f"{kind} of {own}"


def _members_of(path: Path) -> list[tuple[str, bytes]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()]
    with tarfile.open(path) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def _write_zip(path: Path, members: list[tuple[str, bytes]], odd: dict[int, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, (name, content) in enumerate(members):
            entry = zipfile.ZipInfo(name.encode(errors="replace").decode())
            entry.compress_type = zipfile.ZIP_DEFLATED
            if odd.get(number) == "link":
                entry.external_attr = 0o120777 << 16
            if odd.get(number) == "device":
                entry.compress_type = zipfile.ZIP_LZMA
            if entry.filename in archive.namelist():  # of which zipfile warns
                archive.filelist.append(archive.getinfo(entry.filename))
                continue
            archive.writestr(entry, content)
    if "size" in odd.values():  # in the central directory
        packed = bytearray(path.read_bytes())
        start = packed.rfind(b"PK\x01\x02")
        packed[start + 24 : start + 28] = (0x7FFFFFFF).to_bytes(4, "little")
        path.write_bytes(packed)


def _write_tar(path: Path, members: list[tuple[str, bytes]], odd: dict[int, str]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w", format=tarfile.GNU_FORMAT) as tar:
        for number, (name, content) in enumerate(members):
            entry, kind = tarfile.TarInfo(name), odd.get(number)
            entry.size = len(content)
            if kind in ("link", "device"):
                entry.type, entry.linkname = (tarfile.SYMTYPE if kind == "link" else tarfile.FIFOTYPE), "/etc/passwd"
                entry.size = 0
            if kind == "size":  # a header that promises more than there is
                entry.size = 1 << 40
                tar.fileobj.write(entry.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
                continue
            tar.addfile(entry, io.BytesIO(content))
