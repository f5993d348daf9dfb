"""Atomic writes: files are written under a temporary name, synced, then renamed."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

__all__ = [
    "FOOTER_BYTES",
    "TEMPORARY_SUFFIX",
    "atomic_path",
    "footer_digest",
    "parse_json",
    "read_json",
    "refuse_special_file",
    "sha256_of",
    "staged",
    "target_of",
    "write_atomically",
]

FOOTER_BYTES = 1 << 16
"""Bytes of `footer_digest`."""
TEMPORARY_SUFFIX = ".tmp"
"""Suffix of unfinished files; those left behind by a killed process can be recognised by it and deleted."""


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX))


_stage: ContextVar[tuple[Path, Path] | None] = ContextVar("stage", default=None)


@contextmanager
def staged(folder: Path, root: Path) -> Iterator[None]:
    """Within this context, `atomic_path` writes what belongs below `root` into `folder` first, on the same file system.

    Whoever removes the folder thereby keeps a process that was taken for dead from replacing any file later: its
    rename fails.
    """
    token = _stage.set((folder, root))
    try:
        yield
    finally:
        _stage.reset(token)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on exit, the file written there is synced and renamed to `path`.

    The temporary file is beside `path`, or in the folder of `staged`. Two processes may write the same file: the last
    one to finish wins. An exception inside removes the temporary file and leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = _stage.get()
    folder = stage[0] if stage is not None and path.is_relative_to(stage[1]) else path.parent
    temporary = folder / f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def target_of(temporary: Path) -> str | None:
    """Final name of an unfinished file; None for a name that `atomic_path` does not use."""
    named = _TEMPORARY.fullmatch(temporary.name)
    return None if named is None else named[1]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file: after a crash, its content is either the old or the new one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a small JSON file that facemill has written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged: not JSON, not an object, or nested too deeply.
    """
    refuse_special_file(path)
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> dict[str, Any]:
    """Parse a JSON object; the keys of each object in it must differ, since readers disagree about which value counts.

    Raises:
        ValueError: it is not JSON, not an object, nested too deeply, or has a number or a key that is not allowed.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:200]!r} appears twice")
    return found


def refuse_special_file(path: Path) -> None:
    """Reject a path that is neither a regular file nor missing: reading a pipe would block.

    Raises:
        ValueError: if it is a special file.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def footer_digest(path: Path) -> str:
    """SHA-256 of a file's last `FOOTER_BYTES`, hex: Parquet's index of contents is there."""
    with path.open("rb") as file:
        file.seek(-min(FOOTER_BYTES, path.stat().st_size), os.SEEK_END)
        return hashlib.sha256(file.read()).hexdigest()


def _sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (SMB, FUSE) cannot flush folders; the rename has succeeded nevertheless.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)
