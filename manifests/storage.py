"""Files that are either whole or not there: written under a temporary name, synced, then renamed."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "TEMPORARY_SUFFIX",
    "atomic_path",
    "read_json",
    "refuse_special_file",
    "sha256_of",
    "target_of",
    "write_atomically",
]

TEMPORARY_SUFFIX = ".tmp"
"""End of the names of unfinished files; what a killed process leaves behind may be deleted by it."""


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving, what was written there becomes `path`, on disk.

    Two processes that write the same file do not disturb each other: the last one to finish wins.
    An exception inside removes the temporary file and leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def target_of(temporary: Path) -> str | None:
    """Name of the file that was to be made of an unfinished one; None for a name that `atomic_path` does not give."""
    named = _TEMPORARY.fullmatch(temporary.name)
    return None if named is None else named[1]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file: after a crash it is the old one or the new one, never half of it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file that facemill has written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged: no JSON, no object, or nested absurdly deep.
    """
    refuse_special_file(path)
    try:
        content = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def refuse_special_file(path: Path) -> None:
    """See that a path that is to be read is a regular file, or missing: a pipe would be waited for.

    Raises:
        ValueError: if it is anything else.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (SMB, FUSE) cannot flush folders: the rename has succeeded all the same.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)
