"""Whose a dataset's folder is: one build's, by what it holds, and one run's at a time, by a lock."""

import errno
import fcntl
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemill import ConfigError, DatasetError
from facemill.manifests.storage import read_json, write_atomically
from facemill.pipeline.build.state import committed_results, state_folder

__all__ = ["BUILD_FILE", "RUN_FILE", "check_running", "claim"]

BUILD_FILE = "build.json"
"""What must not change between the runs of one build."""
LOCK_FILE = "lock"
RUN_FILE = "run"
"""Id of the run that is under way: workers stop when it is another's, or gone."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer: there, nothing keeps two builds apart."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG)


@contextmanager
def claim(out: Path, identity: Mapping[str, Any]) -> Iterator[str]:
    """Take a folder for a build, or find that it already is this build's; gives the id of this run.

    A folder is another build's once a shard is committed there: a run that made nothing claims nothing. The lock is
    the kernel's: it goes with the process, however that ends.

    Raises:
        ConfigError: if it is another build's, another run is under way there, it holds anything else, or it cannot
            be written to.
    """
    state = state_folder(out)
    try:
        if out.is_dir() and not (state / BUILD_FILE).is_file() and any(child != state for child in out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no build: choose another --out.")
        state.mkdir(parents=True, exist_ok=True)
        with (state / LOCK_FILE).open("a") as lock:
            _lock(lock.fileno(), out)
            _check_identity(out, identity)
            write_atomically(state / BUILD_FILE, json.dumps(identity, indent=1).encode())
            run = secrets.token_hex(8)
            write_atomically(state / RUN_FILE, run.encode())
            try:
                yield run
            finally:
                (state / RUN_FILE).unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        place = error.filename or out
        raise ConfigError(f"{place} cannot be written to ({error.strerror}): choose another --out.") from error


def check_running(out: Path, run: str | None) -> None:
    """See that the run is under way still.

    Raises:
        DatasetError: if it has ended, or another has begun.
    """
    if run is None:
        return
    try:
        if (state_folder(out) / RUN_FILE).read_text() == run:
            return
    except FileNotFoundError:
        pass
    raise DatasetError(f"The build in {out} was stopped: this worker stops, too.")


def _lock(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"Another build is at work in {out}: wait for it, or choose another --out.") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _check_identity(out: Path, identity: Mapping[str, Any]) -> None:
    path = state_folder(out) / BUILD_FILE
    if not path.is_file() or not committed_results(out):
        return
    try:
        before = read_json(path)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): choose another --out, or delete the folder.") from None
    if different := [what for what in identity if before.get(what) != identity[what]]:
        fault = " and another ".join(different)
        raise ConfigError(f"{out} holds a build with another {fault}: choose another --out, or delete the folder.")
