"""Running commands on damaged files, with bounded time and memory, and judging how they end."""

import functools
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.integration.command import Ended
from tests.integration.forked import forked

__all__ = ["LIMIT_S", "Cost", "record", "run"]

LIMIT_S = 120
"""For a command that takes seconds, on a busy machine."""
MOST_BYTES = 4 << 30
"""Of private memory, beyond which allocations fail."""
COST = ".cost"
"""File with what a command took."""


class Cost(NamedTuple):
    """What a command took: peak memory in MiB, and seconds of processor time, which other work does not change."""

    peak_mib: int
    cpu_s: float


def _bounded() -> None:
    """In the command's process: limit its memory, and write what it took at the end."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    util.Finalize(None, functools.partial(_write_cost, Path.cwd() / COST), exitpriority=0)


def _write_cost(path: Path) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    path.write_text(f"{used.ru_maxrss >> 10} {used.ru_utime + used.ru_stime}")


def run(folder: Path, *args: str) -> tuple[Ended, Cost]:
    """Run a command in `folder`; returns how it ended and what it took.

    Raises:
        AssertionError: it has left a process, or it broke a rule (see `_wrong_with`).
    """
    (folder / COST).unlink(missing_ok=True)
    ended = forked(*args, folder=folder, limit_s=LIMIT_S, first=_bounded)
    left = [process for process in psutil.process_iter() if _works_in(process, folder)]
    for process in left:
        process.kill()
    wrong = f"leaves {left}" if left else _wrong_with(ended)
    assert wrong is None, f"{wrong}: {' '.join(args)}: {ended}"
    peak, cpu = (folder / COST).read_text().split()
    return ended, Cost(int(peak), float(cpu))


def record(record_property: Callable[[str, object], None], kind: str, outcome: tuple[list[str], list[Cost]]) -> None:
    """Tell how the commands of a kind of damaged file ended, for the lines at the end of the run."""
    ends, costs = outcome
    record_property(kind, (ends, [tuple(cost) for cost in costs]))  # pytest-xdist sends plain values only


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return Path(process.cwd()).is_relative_to(folder) and process.pid != os.getpid()
    return False


def _wrong_with(ended: Ended) -> str | None:
    """How an ending breaks the rule: exit code 0, 2, 3 or 4, and an error of one sentence."""
    if ended.code not in (0, 2, 3, 4):
        return f"exit code {ended.code}"
    for word in ("Internal error", "internal_error", "Traceback", "Aborted!", "weights_only", "\x1b"):
        if word in ended.err + ended.out:
            return f"says {word!r}"
    # libpng and others write lines of their own about what they cannot decode, past all of Python.
    lines = [line for line in ended.err.splitlines() if not line.startswith(("libpng ", "[", "Corrupt JPEG"))]
    if ended.code == 2 and not (lines and lines[-1].startswith("Error: ")):
        return "tells no error"
    return "more than a sentence" if ended.code == 2 and len(lines) > 2 else None
