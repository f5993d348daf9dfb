"""A run's folder in the state folder: who holds it, whether that process lives, and which shards are in hand.

Whatever a run or one of its workers writes goes through this folder first (`facemill.manifests.storage.staged`). Once
it is taken away, they can replace no file any more, be they frozen, cut off or on another machine: their rename fails.
"""

import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from facemill import ClusterError, ConfigError
from facemill.manifests.shards.dataset import STATE_FOLDER
from facemill.manifests.storage import read_json, refuse_special_file, staged

__all__ = [
    *("BEAT_FILE", "BEAT_S", "HOLDER_FILE", "LEASE_S", "WORK_FOLDER", "Holder", "at_work", "attempt", "check_held"),
    *("check_running", "end_work", "holding", "put_away", "refuse_living", "run_folder"),
]

HOLDER_FILE, BEAT_FILE, WORK_FOLDER = "holder.json", "beat", "work"
BEAT_S = 10.0
"""Seconds between two signs of life."""
LEASE_S = 90.0
"""Time without a sign after which a run on another machine counts as gone; network disks may show a file's time 60 s
late."""
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that runs a build.

    Attributes:
        kernel: id of the running kernel: another one after a reboot, and on another machine.
        processes: the kernel's table of processes that `pid` belongs to; containers have their own.
        start: of the process, in ticks of its kernel: another one where `pid` is used again.
        shared: whether it builds a part, beside others.
    """

    host: str = "another host"
    kernel: str = ""
    processes: str = ""
    pid: int = 0
    start: str | None = None
    shared: bool = False

    @classmethod
    def here(cls, *, shared: bool) -> "Holder":
        """The current process."""
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pid = os.getpid()
        return cls(platform.node(), kernel, os.readlink("/proc/self/ns/pid"), pid, _start_of(pid), shared)  # noqa: PTH115

    @classmethod
    def of(cls, folder: Path) -> "Holder":
        """Whoever holds a run's folder; of a damaged file, what can be told."""
        try:
            return cls(**read_json(folder / HOLDER_FILE))
        except (OSError, ValueError, TypeError):
            return cls()

    def is_gone(self, *, locked: bool) -> bool | None:
        """Whether the process has ended; None if this process cannot tell.

        Args:
            locked: this process holds the kernel's lock alone, so that no other of this kernel does.
        """
        here = Holder.here(shared=False)
        if self.kernel != here.kernel:
            return None
        if locked:
            return True
        return _start_of(self.pid) != self.start if self.processes == here.processes else None


def run_folder(out: Path, run: str) -> Path:
    """The folder that is there for as long as a run is under way."""
    return out / STATE_FOLDER / f"run-{run}"


def check_running(out: Path, run: str | None) -> None:
    """See that workers may go on with a run.

    Raises:
        ClusterError: if it has ended, or another run has taken its place.
    """
    if run is not None:
        _check(out, run_folder(out, run) / WORK_FOLDER)


def check_held(out: Path, run: str) -> None:
    """See that the folder is still this run's.

    Raises:
        ClusterError: if another run has taken it over, since this one gave no sign of life.
    """
    _check(out, run_folder(out, run))


def _check(out: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise ClusterError(
            f"The build in {out} was stopped, or another run took it over while this one was frozen: this process "
            "stops, too. The same command resumes it."
        )


def put_away(folder: Path) -> None:
    """Remove a folder: at once for whoever would rename a file in it, in any time else."""
    gone = folder.with_name(f".gone-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):  # another process was faster
        folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)


def end_work(out: Path, run: str) -> None:
    """Keep workers from committing anything more: all that the run needs is committed."""
    put_away(run_folder(out, run) / WORK_FOLDER)


@contextmanager
def attempt(out: Path, run: str | None, shard_id: str) -> Iterator[Path]:
    """Take a shard in hand, from whichever worker had it before; gives the folder through which it is committed.

    Args:
        run: None for a shard that is built outside any run.

    Raises:
        ClusterError: if the run is over.
    """
    token = secrets.token_hex(4)
    own = run_folder(out, run or f"alone-{token}")
    check_running(out, run)
    for other in (out / STATE_FOLDER).glob(f"run-*/{WORK_FOLDER}/{shard_id}/*"):
        put_away(other)
    folder = own / WORK_FOLDER / shard_id / token
    try:
        if run is None:
            folder.parent.mkdir(parents=True)
        else:
            folder.parent.mkdir(exist_ok=True)  # without parents: the folder of a run that is over stays away
        folder.mkdir()
        with staged(folder, out):
            yield folder
    finally:
        put_away(folder if run is not None else own)


@contextmanager
def holding(out: Path, *, shared: bool) -> Iterator[str]:
    """A run's folder, with regular signs of life of this process; gives the run's id."""
    run = secrets.token_hex(8)
    folder = run_folder(out, run)
    made = folder.with_name(f".new-{run}")  # complete before others see it
    (made / WORK_FOLDER).mkdir(parents=True)
    (made / HOLDER_FILE).write_text(json.dumps(asdict(Holder.here(shared=shared))))
    (made / BEAT_FILE).touch()
    made.replace(folder)
    ended = threading.Event()
    threading.Thread(target=_beat, args=(folder / BEAT_FILE, ended), name="signs of life", daemon=True).start()
    try:
        yield run
    finally:
        ended.set()  # not waited for: a disk that stalls would hold it
        put_away(folder)


def _beat(file: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            os.utime(file)
        except FileNotFoundError:  # another run took over: never made anew
            return
        except OSError:
            continue


def refuse_living(out: Path, own: str, *, shared: bool, locked: bool, warn: Callable[[str], None]) -> None:
    """See that no other run is under way, and put the folders of those that are gone away.

    A run of another machine is gone if its folder shows no sign of life for `LEASE_S` seconds of this machine's own:
    clocks are never compared.

    Args:
        own: id of this run.
        shared: it builds a part, beside which others may be built.
        locked: see `Holder.is_gone`.
        warn: called with a line if that takes time.

    Raises:
        ConfigError: if one is.
    """
    unseen: dict[Path, Holder] = {}
    for folder in (out / STATE_FOLDER).glob("run-*"):
        holder = Holder.of(folder)
        gone = folder != run_folder(out, own) and holder.is_gone(locked=locked)
        if gone:
            put_away(folder)
        elif folder != run_folder(out, own) and not (shared and holder.shared):
            if gone is False:
                raise at_work(out, holder)
            unseen[folder] = holder
    if unseen:
        told = " and ".join(sorted({f"process {holder.pid} on {holder.host}" for holder in unseen.values()}))
        warn(f"{out} was last used by {told}, which did not say that it ended: waiting {LEASE_S:g} s for a sign of it.")
        _wait_for_sign(out, unseen)
    for folder in unseen:
        put_away(folder)
    for pattern in (".gone-*", ".new-*")[: 1 + locked]:  # of processes that were killed meanwhile
        for left in (out / STATE_FOLDER).glob(pattern):
            shutil.rmtree(left, ignore_errors=True)


def at_work(out: Path, holder: Holder | None) -> ConfigError:
    """The error for a folder that another run holds."""
    who = "" if holder is None else f", process {holder.pid} on {holder.host}"
    return ConfigError(f"Another build is at work in {out}{who}: wait for it, or choose another --out.")


def _wait_for_sign(out: Path, unseen: dict[Path, Holder]) -> None:
    before = {folder: _last_sign(folder) for folder in unseen}
    deadline = time.monotonic() + LEASE_S
    while time.monotonic() < deadline and any(folder.is_dir() for folder in unseen):
        for folder, holder in unseen.items():
            if _last_sign(folder) not in (before[folder], None):
                raise at_work(out, holder)
        time.sleep(min(POLL_S, LEASE_S / 10))


def _last_sign(folder: Path) -> int | None:
    try:
        refuse_special_file(folder / BEAT_FILE)  # opening a pipe would block
        with (folder / BEAT_FILE).open("rb") as file:  # opened, since network disks then ask the server
            return os.fstat(file.fileno()).st_mtime_ns
    except (OSError, ValueError):
        return None


def _start_of(pid: int) -> str | None:
    """When a process was started; None if it has ended, also where nobody has waited for it yet."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
