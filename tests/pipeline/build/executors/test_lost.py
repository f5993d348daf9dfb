"""Workers that freeze, and a scheduler that is killed or frozen: real processes, and signals that end or stop them."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from distributed.comm import CommClosedError

from facemill import ClusterError
from facemill.pipeline.build.executors import cluster_watch
from facemill.pipeline.build.executors import dask as module
from facemill.pipeline.build.executors.cluster_watch import ClusterWatch
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.patience import Limits, RunningClock

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that Dask leaves open
]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.3)
    monkeypatch.setattr(cluster_watch, "LOOK_EVERY_S", 0.3)


def watched(executor: DaskExecutor, folder: Path, limits: Limits) -> list[str]:
    """Lines that it tells; all tasks make progress, but for `one` from its first step to the first line."""
    told: list[str] = []
    steps = itertools.count()
    executor.watch(
        limits, told.append, lambda task: "still" if task == "one" and begun(folder) and not told else next(steps)
    )
    return told


def begun(folder: Path) -> list[int]:
    """The processes that have begun the task `one`."""
    file = folder / "one"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def begin() -> bool:
    """Begin the task `one`; whether this process is the first."""
    folder = Path(os.environ["FACEMILL_TEST_FOLDER"])
    with (folder / "one").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(begun(folder)) == 1


def freeze_once(task: str, number: int, threads: int) -> int:
    """The first process to get the task `one` stops; another task lasts until a second one has it."""
    folder = Path(os.environ["FACEMILL_TEST_FOLDER"])
    if task == "one" and begin():
        os.kill(os.getpid(), signal.SIGSTOP)
    while len(begun(folder)) < 2:
        time.sleep(0.05)
    return os.getpid()


def add(task: int, number: int, threads: int) -> int:
    time.sleep(0.1)
    return task + 1


def lost_in_c(task: str, number: int, threads: int) -> int:
    """The first process to get the task waits in a C function that keeps the interpreter's lock."""
    import ctypes

    if begin():
        ctypes.PyDLL(None).sleep(3600)
    return os.getpid()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("function", "tasks"),
    [(freeze_once, ["one", "other"]), pytest.param(lost_in_c, ["one"], marks=pytest.mark.long)],
)
def test_the_task_of_a_worker_without_progress_is_done_by_another(
    function: Any, tasks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMILL_TEST_FOLDER", str(tmp_path))
    executor = DaskExecutor(workers=len(tasks))
    told = watched(executor, tmp_path, Limits(stall_s=1))
    with executor:
        outcomes = {outcome.task: outcome for outcome in executor.run(function, tasks)}
    assert [outcomes[task].error for task in tasks] == [None] * len(tasks)
    first, second = begun(tmp_path)
    assert first != second
    assert outcomes["one"].result == second
    assert not psutil.pid_exists(first)
    assert len(told) == 1
    assert "has made no progress for 1 s: its work (" in told[0]


class Client:
    """A scheduler that says which worker has which tasks, and restarts workers."""

    def __init__(self, held: dict[str, list[str]]) -> None:
        self.held, self.restarted = held, []
        self.scheduler = self

    def processing(self) -> dict[str, list[str]]:
        return self.held

    def sync(self, function: Any, **options: Any) -> None:
        function(**options)

    def restart_workers(self, workers: list[str], **options: Any) -> None:
        self.restarted += workers


def test_only_workers_none_of_whose_tasks_makes_progress_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second task may wait on a worker; one may be frozen before it begins; others have nothing to do."""
    told: list[str] = []
    steps = {"a1": 0, "a2": None, "b1": None, "c1": 7}
    executor = DaskExecutor(workers=1)
    executor.watch(Limits(stall_s=60), told.append, lambda task: steps[task])
    client = Client({"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"], "idle": ["of somebody else"]})
    watch = ClusterWatch(client, executor)
    expected = {0: 0, 50: 0, 100: 1, 159: 1, 161: 1, 220: 2}  # how often, by second; a new worker has all of the time
    now = iter(expected)
    monkeypatch.setattr(watch, "_clock", SimpleNamespace(now=lambda: next(now)))
    for second, times in expected.items():
        steps["a1"] = second
        watch.check_progress({name: name for name in steps})
        assert client.restarted == ["b", "c"] * times, second
    assert "The worker at b has made no progress for 60 s: its work (b1) is given to another one." in told


def test_a_run_ends_whose_tasks_reach_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while workers are busy with something else, or tasks end."""
    executor = DaskExecutor(workers=1)
    executor.watch(Limits(wait_s=60, stall_s=10), [].append, lambda task: None)
    client = Client({"a": ["of somebody else"], "b": []})
    watch = ClusterWatch(client, executor)
    now = iter([0, 100, 200, 250, 260, 319, 320])
    monkeypatch.setattr(watch, "_clock", SimpleNamespace(now=lambda: next(now)))
    watch.check_progress({"one": "one", "two": "two"})
    watch.check_progress({"one": "one", "two": "two"})  # 100
    client.held = {"a": [], "b": []}
    watch.check_progress({"one": "one", "two": "two"})  # 200
    watch.check_progress({"one": "one", "two": "two"})  # 250
    watch.check_progress({"two": "two"})  # 260
    watch.check_progress({"two": "two"})  # 319
    with pytest.raises(ClusterError, match=r"had work for 60 s, though there is some.*same command again"):
        watch.check_progress({"two": "two"})
    assert not client.restarted


def test_tasks_reach_nobody_only_while_somebody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last worker has gone, that is what is said."""
    executor = DaskExecutor(workers=1)
    executor.watch(Limits(wait_s=60, stall_s=10), [].append, lambda task: None)
    watch = ClusterWatch(Client({"a": []}), executor)
    now = iter([0, 60])
    monkeypatch.setattr(watch, "_clock", SimpleNamespace(now=lambda: next(now)))
    monkeypatch.setattr(watch, "workers", lambda: {"a": {}})
    watch.check_progress({"one": "one"})
    watch.check_workers(["b"])
    watch.check_progress({"one": "one"})


@pytest.mark.heavy
@pytest.mark.parametrize("stream", ["client", "scheduler"])
def test_messages_that_dask_holds_since_the_clock_was_set_back(stream: str) -> None:
    """It sends a next message when the clock shows the time of the last one, and some milliseconds."""
    executor = DaskExecutor(workers=1)
    executor.watch(Limits(wait_s=2), [].append, lambda task: None)
    with executor:
        client, scheduler = executor._client, executor._client.cluster.scheduler
        outcomes = executor.run(add, range(9))
        assert next(outcomes).error is None
        sender = client.scheduler_comm if stream == "client" else scheduler.client_comms[client.id]
        sender.interval = 3600  # seconds to the next message
        with pytest.raises(ClusterError, match="clock was set back"):
            list(outcomes)


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


@pytest.mark.parametrize(("status", "kind"), [("finished", ClusterError), ("error", OSError)])
def test_a_result_that_cannot_be_fetched_is_the_clusters_fault(status: str, kind: type[Exception]) -> None:
    def result() -> None:
        raise CommClosedError("in <TCP>: TimeoutError: [Errno 110] Connection timed out")

    outcome = module._outcome("one", SimpleNamespace(status=status, result=result))
    assert isinstance(outcome.error, kind)
    assert not outcome.killed
    assert "timed out" in str(outcome.error)


def test_a_scheduler_that_goes_while_workers_are_waited_for() -> None:
    def wait_for_workers(count: int, timeout: float) -> None:
        raise CommClosedError("in <TCP (closed) ConnectionPool.identity>: Connection reset by peer")

    client = SimpleNamespace(scheduler=SimpleNamespace(address="tcp://here"), wait_for_workers=wait_for_workers)
    with pytest.raises(ClusterError, match=r"no longer answers .*same command again"):
        ClusterWatch(client, DaskExecutor(workers=1)).wait_for_workers()
