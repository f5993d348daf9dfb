"""A scheduler, and a nanny with its worker, as users start them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.network import free_port

__all__ = ["cluster", "is_server", "workers_of"]

STARTED_S = 60


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The processes below one that build, spawned or forked; neither helpers of multiprocessing's, nor nannies."""
    below, found = process.children(recursive=True), []
    for one in below:
        with suppress(psutil.Error):  # it has ended
            if "spawn_main" in " ".join(one.cmdline()) or (is_server(one) and is_server(one.parent())):
                found.append(one)
    return found or below


def is_server(process: psutil.Process | None) -> bool:
    """Whether it is the process that workers are forked from, or forked from it: their command lines are the same."""
    with suppress(psutil.Error):
        return process is not None and "multiprocessing.forkserver" in " ".join(process.cmdline())
    return False


@contextmanager
def cluster(host: str = "127.0.0.1", within: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """Start them, and kill all that is left in the end.

    Args:
        host: address that they listen at.
        within: a command that is put before theirs.

    Yields the scheduler's address, and the processes: scheduler, nanny, worker.
    """
    port = free_port()
    address = f"tcp://{host}:{port}"
    scheduler = ["scheduler", "--host", host, "--port", port, "--no-dashboard"]
    worker = ["worker", address, "--nworkers", 1, "--nthreads", 1, "--memory-limit", 0, "--no-dashboard"]
    running = [
        subprocess.Popen(
            [*within, str(Path(sys.executable).with_name("dask")), *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in (scheduler, worker)
    ]
    found: list[psutil.Process] = []
    try:
        processes = {name: psutil.Process(one.pid) for name, one in zip(("scheduler", "nanny"), running, strict=True)}
        deadline = time.monotonic() + STARTED_S
        while not (found := workers_of(processes["nanny"])):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield address, {**processes, "worker": found[0]}
    finally:
        for one in running:
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(one.pid).children(recursive=True)
            one.kill()
            one.wait()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
