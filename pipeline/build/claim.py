"""Whose a dataset's folder is: one build's, by what it holds, and one run's or its parts' at a time, by a lock."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemill import ConfigError, DatasetError
from facemill.manifests.shards.dataset import BUILD_FILE, STATE_FOLDER, state_results
from facemill.manifests.storage import read_json, staged, write_atomically
from facemill.pipeline.build.identity import differences
from facemill.pipeline.build.run_folder import Holder, at_work, check_held, holding, refuse_living, run_folder

__all__ = ["claim", "recorded", "settle"]

LOCK_FILE = "lock"
SETTLE_S = 10.0  # longest time that a shared run waits for one that takes the folder
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer: there, the signs of life in a run's folder keep two builds apart."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG)
FAILING = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def claim(
    out: Path, identity: Mapping[str, Any], *, shared: bool = False, warn: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Take a folder for a build, or find that it already is this build's; gives the id of this run.

    A folder is another build's once a shard is committed there: a run that made nothing claims nothing. The lock is
    the kernel's: it goes with the process, however that ends. Some network disks have no locks, or one per machine:
    there, signs of life in the run's folder tell whether another run is under way.

    Args:
        shared: other shared runs of the same build may be under way.
        warn: called with a line if another run, which may be gone, has to be waited for.

    Raises:
        ConfigError: if it is another build's, another run is under way there, it holds anything else, or it cannot
            be written to.
        ClusterError: at the end, if another run took the folder over.
        DatasetError: at any time, if the disk is full or fails.
    """
    state = out / STATE_FOLDER
    try:
        if out.is_dir() and not (state / BUILD_FILE).is_file() and any(child != state for child in out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no build: choose another --out.")
        state.mkdir(parents=True, exist_ok=True)
        if (state / LOCK_FILE).exists() and not (state / LOCK_FILE).is_file():  # opening a pipe would block
            raise ConfigError(f"{state / LOCK_FILE} is not a regular file: delete it, or choose another --out.")
        with (state / LOCK_FILE).open("a") as lock:
            kind = _lock(lock.fileno(), out, shared=shared)
            with holding(out, shared=shared) as run:
                refuse_living(out, run, shared=shared, locked=kind == fcntl.LOCK_EX, warn=warn)
                before = _check_identity(out, identity, at_work=kind == fcntl.LOCK_SH)
                if kind != fcntl.LOCK_SH:
                    write_atomically(state / BUILD_FILE, json.dumps({**before, **identity}, indent=1).encode())
                if kind == fcntl.LOCK_EX and shared:
                    fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
                with staged(run_folder(out, run), out):
                    try:
                        yield run
                    except FileNotFoundError:
                        check_held(out, run)
                        raise
    except OSError as error:
        place = error.filename or out
        if error.errno in FAILING:
            raise DatasetError(
                f"The disk of {place} failed ({os.strerror(error.errno)}): check it, and run the same command again to "
                "resume."
            ) from error
        if error.errno not in UNWRITABLE:
            raise
        raise ConfigError(f"{place} cannot be written to ({error.strerror}): choose another --out.") from error


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
            held = [*(out / STATE_FOLDER).glob("run-*")]
            raise at_work(out, Holder.of(held[0]) if held else None)
        time.sleep(0.1)  # the first of several parts looks at the folder alone


def settle(out: Path, identity: Mapping[str, Any]) -> None:
    """Complete what a claim says of its build, once its workers have told what they are.

    Raises:
        ConfigError: if parts of this build were made otherwise.
    """
    before = _check_identity(out, identity, at_work=True)
    write_atomically(out / STATE_FOLDER / BUILD_FILE, json.dumps({**before, **identity}, indent=1).encode())


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
    path = out / STATE_FOLDER / BUILD_FILE
    try:
        return read_json(path) if path.exists() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): choose another --out, or delete the folder.") from None
