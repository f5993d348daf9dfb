"""Folders for copies of remote videos: gone with their clip, or with the next process where theirs was killed."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

__all__ = ["copies_folder"]

PREFIX = "facemill-copies-"
LOCK_FILE = "in-use"
NEW_S = 60.0
"""Age under which a folder may be one that is just being made."""


@contextmanager
def copies_folder() -> Iterator[Path]:
    """An empty folder for as long as the context lasts."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, (Path(folder) / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel's: it goes with the process, however that ends
        yield Path(folder)


@cache
def _sweep() -> None:
    """Remove what killed processes left; once is enough for a process."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK_FILE}"):
        with suppress(OSError), path.open("r+") as lock:  # another user's, gone by now, or held
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > NEW_S:
                shutil.rmtree(path.parent, ignore_errors=True)
