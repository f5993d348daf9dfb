"""Whose a dataset's folder is: one build's, by what it holds, and one run's or its parts' at a time, by a lock."""

import errno
import fcntl
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemill import ConfigError, DatasetError
from facemill.manifests.shards.dataset import BUILD_FILE, state_results
from facemill.manifests.storage import read_json, write_atomically
from facemill.pipeline.build.identity import differences
from facemill.pipeline.build.state import state_folder

__all__ = ["check_running", "claim", "recorded", "run_file", "settle"]

LOCK_FILE = "lock"
SETTLE_S = 10.0
"""Longest time that a shared run waits for one that takes the folder."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer: there, nothing keeps two builds apart."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG)


@contextmanager
def claim(out: Path, identity: Mapping[str, Any], *, shared: bool = False) -> Iterator[str]:
    """Take a folder for a build, or find that it already is this build's; gives the id of this run.

    A folder is another build's once a shard is committed there: a run that made nothing claims nothing. The lock is
    the kernel's: it goes with the process, however that ends.

    Args:
        shared: other shared runs of the same build may be under way.

    Raises:
        ConfigError: if it is another build's, another run is under way there, it holds anything else, or it cannot
            be written to.
    """
    state = state_folder(out)
    try:
        if out.is_dir() and not (state / BUILD_FILE).is_file() and any(child != state for child in out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no build: choose another --out.")
        state.mkdir(parents=True, exist_ok=True)
        if (state / LOCK_FILE).exists() and not (state / LOCK_FILE).is_file():  # opening a pipe would block
            raise ConfigError(f"{state / LOCK_FILE} is not a regular file: delete it, or choose another --out.")
        with (state / LOCK_FILE).open("a") as lock:
            kind = _lock(lock.fileno(), out, shared=shared)
            before = _check_identity(out, identity, at_work=kind == fcntl.LOCK_SH)
            if kind != fcntl.LOCK_SH:
                write_atomically(state / BUILD_FILE, json.dumps({**before, **identity}, indent=1).encode())
            if kind == fcntl.LOCK_EX:
                for path in state.glob("run-*"):  # of runs that were killed
                    path.unlink(missing_ok=True)
                if shared:
                    fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
            run = secrets.token_hex(8)
            run_file(out, run).touch()
            try:
                yield run
            finally:
                run_file(out, run).unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        place = error.filename or out
        raise ConfigError(f"{place} cannot be written to ({error.strerror}): choose another --out.") from error


def run_file(out: Path, run: str) -> Path:
    """The file that is there for as long as a run is under way: its workers stop when it is gone."""
    return state_folder(out) / f"run-{run}"


def check_running(out: Path, run: str | None) -> None:
    """See that the run is under way still.

    Raises:
        DatasetError: if it has ended.
    """
    if run is None or run_file(out, run).exists():
        return
    raise DatasetError(f"The build in {out} was stopped: this worker stops, too.")


def _lock(descriptor: int, out: Path, *, shared: bool) -> int | None:
    """The kind of lock that was got, alone where possible; None where the file system knows none."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH)[: 1 + shared]:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return kind
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                return None
        if not shared or time.monotonic() > deadline:
            raise ConfigError(f"Another build is at work in {out}: wait for it, or choose another --out.")
        time.sleep(0.1)  # the first of several parts looks at the folder alone


def settle(out: Path, identity: Mapping[str, Any]) -> None:
    """Complete what a claim says of its build, once its workers have told what they are.

    Raises:
        ConfigError: if parts of this build were made otherwise.
    """
    before = _check_identity(out, identity, at_work=True)
    write_atomically(state_folder(out) / BUILD_FILE, json.dumps({**before, **identity}, indent=1).encode())


def _check_identity(out: Path, identity: Mapping[str, Any], *, at_work: bool) -> dict[str, Any]:
    """See that a folder's build, if anything of it is committed, is this one; gives what it says of itself.

    Args:
        at_work: whether another run of it may be under way, with nothing committed yet.

    Raises:
        ConfigError: naming what differs.
    """
    committed = bool(state_results(out))
    before = recorded(out) if at_work or committed else {}
    if committed and not identity.keys() <= before.keys():
        raise ConfigError(
            f"{out} holds a build of an earlier facemill, which did not say what it was made with: choose another "
            "--out, or delete the folder."
        )
    if different := differences({name: identity[name] for name in identity if name in before}, before):
        raise ConfigError(
            f"{out} holds a build with {' and '.join(different)}: choose another --out, or delete the folder."
        )
    return before


def recorded(out: Path) -> dict[str, Any]:
    """What the folder's build says of itself.

    Raises:
        ConfigError: if that is damaged.
    """
    path = state_folder(out) / BUILD_FILE
    try:
        return read_json(path) if path.exists() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): choose another --out, or delete the folder.") from None
