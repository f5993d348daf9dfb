"""Workers that freeze, and a scheduler that is killed or frozen: real processes, and signals that end or stop them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from facemill import ClusterError
from facemill.pipeline.build.executors import cluster_watch
from facemill.pipeline.build.executors import dask as module
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.patience import Limits, RunningClock

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that Dask leaves open
]

STALL_S = 3.0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.3)
    monkeypatch.setattr(cluster_watch, "LOOK_EVERY_S", 0.3)


def watched(executor: DaskExecutor, folder: Path, limits: Limits) -> list[str]:
    """Lines that it tells; the progress of a task is the size of its file in `folder`."""
    told: list[str] = []
    executor.watch(limits, told.append, lambda task: file.stat().st_size if (file := folder / task).exists() else None)
    return told


def step(file: Path) -> None:
    with file.open("a") as steps:
        steps.write(f"{os.getpid()}\n")


def freeze_once(task: str, number: int, threads: int) -> int:
    """The first process to get the task `frozen` stops, with a nanny's other processes; the others make steps."""
    folder = Path(os.environ["FACEMILL_TEST_FOLDER"])
    step(folder / task)
    if task == "frozen" and len((folder / task).read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    for _ in range(5 if task == "slow" else 0):
        time.sleep(STALL_S / 3)  # together longer than the limit
        step(folder / task)
    return os.getpid()


def lost_in_c(task: str, number: int, threads: int) -> int:
    """The first process to get the task waits in a C function that keeps the interpreter's lock."""
    import ctypes

    folder = Path(os.environ["FACEMILL_TEST_FOLDER"])
    step(folder / task)
    if len((folder / task).read_text().split()) == 1:
        ctypes.PyDLL(None).sleep(3600)
    return os.getpid()


@pytest.mark.parametrize(
    ("function", "tasks"),
    [(freeze_once, ["frozen", "slow"]), pytest.param(lost_in_c, ["one"], marks=pytest.mark.long)],
)
def test_the_task_of_a_worker_without_progress_is_done_by_another(
    function: Any, tasks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMILL_TEST_FOLDER", str(tmp_path))
    executor = DaskExecutor(workers=len(tasks))
    told = watched(executor, tmp_path, Limits(stall_s=STALL_S))
    with executor:
        outcomes = {outcome.task: outcome for outcome in executor.run(function, tasks)}
    assert [outcomes[task].error for task in tasks] == [None] * len(tasks)
    first, second = (tmp_path / tasks[0]).read_text().split()
    assert first != second
    assert outcomes[tasks[0]].result == int(second)
    assert not psutil.pid_exists(int(first))
    assert len(told) == 1, told
    assert f"has made no progress for 3 s: its work ({tasks[0]}) is given to another one" in told[0]


def test_what_was_stopped_itself_takes_nothing_from_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a laptop that slept for an hour."""
    times = iter([0.0, 1.0, 3601.0, 3602.0])
    monkeypatch.setattr("facemill.pipeline.build.patience.time.monotonic", lambda: next(times))
    clock = RunningClock(1.0)
    assert [clock.now() for _ in range(3)] == [1.0, 3.0, 4.0]


SCHEDULER = """
import asyncio, sys
from distributed import Scheduler
async def run():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()
asyncio.run(run())
"""


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler in a process of its own, with a worker without a nanny."""
    quiet = {"stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, **quiet) as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        environment = {**os.environ, "FACEMILL_TEST_FOLDER": str(folder)}
        options = ["--no-dashboard", "--local-directory", str(folder)]
        with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, env=environment, **quiet) as worker:
            try:
                yield address, psutil.Process(scheduler.pid)
            finally:
                for process in (worker, scheduler):
                    process.kill()


def wait_for_ever(task: str, number: int, threads: int) -> None:
    (Path(os.environ["FACEMILL_TEST_FOLDER"]) / task).touch()
    threading.Event().wait()


def error_of(executor: DaskExecutor) -> Exception | None:
    """The error that a run ends with, raised or as an outcome."""
    try:
        [outcome] = executor.run(wait_for_ever, ["one"])
    except ClusterError as error:
        return error
    return outcome.error


@pytest.mark.parametrize(
    ("number", "sentence", "waits"),
    [
        (signal.SIGKILL, "The scheduler ", 0),
        pytest.param(signal.SIGSTOP, "The scheduler no longer answers", 1, marks=pytest.mark.long),
    ],
)
def test_a_scheduler_that_is_lost_ends_the_run_in_time(
    number: signal.Signals, sentence: str, waits: int, tmp_path: Path
) -> None:
    with cluster(tmp_path) as (address, scheduler):
        executor = DaskExecutor(scheduler=address)
        told = watched(executor, tmp_path, Limits(wait_s=20))

        def lose() -> None:
            while not (tmp_path / "one").exists():
                time.sleep(0.05)
            executor.limits = Limits(wait_s=2)
            executor._watch._limits = executor.limits
            scheduler.send_signal(number)

        thread = threading.Thread(target=lose)
        start = time.monotonic()
        with executor:
            thread.start()
            error = error_of(executor)
        thread.join()
        assert time.monotonic() - start < 60
    assert str(error).startswith(sentence)
    assert "run the same command again to resume" in str(error)
    assert len([line for line in told if "Waiting for the scheduler" in line]) >= waits
