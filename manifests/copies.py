"""Temporary folders for copies of remote videos: removed with their clip; after a kill, by the next process."""

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
"""Age in seconds below which another process may still be creating the folder."""


@contextmanager
def copies_folder() -> Iterator[Path]:
    """Create an empty folder that exists as long as the context."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, (Path(folder) / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when the process ends, even if it is killed
        yield Path(folder)


@cache
def _sweep() -> None:
    """Remove the folders of killed processes, once per process."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK_FILE}"):
        with suppress(OSError), path.open("r+") as lock:  # another user's, already removed, or locked
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > NEW_S:
                shutil.rmtree(path.parent, ignore_errors=True)
