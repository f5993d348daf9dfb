import http.client
import itertools
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
import distributed
import psutil
import pytest

from facemill import ConfigError, DetectorError
from facemill.pipeline.build.executors import dask as module
from facemill.pipeline.build.executors import tell
from facemill.pipeline.build.executors.dask import RETRIES, TASKS_PER_WORKER, DaskExecutor
from tests.pipeline.build.executors.scripts import run_script

pytestmark = pytest.mark.timeout(300)

WORKERS = 2
PAGES = ("/status", "/info/main/workers.html", "/info/main/logs.html", "/json/identity.json", "/json/counts.json",
         "/metrics", "/health", "/individual-profile", "/individual-plots.json", "/proxy/22/127.0.0.1/",
         "/api/v1/get_workers")  # fmt: skip
"""Of Dask's servers by default, and of its dashboard."""


@pytest.fixture(scope="module")
def local() -> Iterator[DaskExecutor]:
    with DaskExecutor(workers=WORKERS) as executor:
        yield executor


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler that somebody runs."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
    ) as cluster:
        yield cluster.scheduler_address


def double(task: int, number: int, threads: int) -> int:
    return 2 * task


def where(task: int, number: int, threads: int) -> tuple[int, int, int]:
    time.sleep(0.2)  # so that both workers get some
    return os.getpid(), number, threads


def note_down(folder: Path) -> int:
    """Which call this is, over all processes."""
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return len(list(folder.iterdir()))


def fail_once(folder: Path, number: int, threads: int) -> str:
    if note_down(folder) == 1:
        raise OSError("the disk hiccups")
    return "done"


def fail_always(folder: Path, number: int, threads: int) -> None:
    note_down(folder)
    raise LookupError("no such thing")


def lack_weights(folder: Path, number: int, threads: int) -> None:
    note_down(folder)
    raise DetectorError("There are no weights.")


def die_of_poison(task: Path | int, number: int, threads: int) -> int:
    if isinstance(task, Path):
        note_down(task)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError
    time.sleep(0.2)
    return task


def talk(task: int, number: int, threads: int) -> None:
    tell({"task": task})
    time.sleep(1)  # longer than what it says is under way


kept: list[bytes] = []


def keep(size: int, number: int, threads: int) -> int:
    """Leaves the process with much memory, as a decoder's caches do."""
    kept.append(b"1" * size)
    time.sleep(0.3)  # Dask looks every 0.1 s
    return size


def wait_long(task: int, number: int, threads: int) -> None:
    time.sleep(60)


@dataclass
class Foreign:
    """Loads in this process only, as a task does whose workers have another version installed."""

    home: int

    def __setstate__(self, state: dict[str, int]) -> None:
        if os.getpid() != state["home"]:
            raise TypeError("what is this?")
        self.__dict__ = state


def threads_of_worker(task: int, number: int, threads: int) -> str:
    return os.environ["MKL_NUM_THREADS"]


def is_profiled(task: int, number: int, threads: int) -> bool:
    time.sleep(1.5)  # what was seen is kept once a second
    return bool(distributed.get_worker().profile_history)


def shortest_interval(task: int, number: int, threads: int) -> float:
    return float(min(callback.callback_time for callback in distributed.get_worker().periodic_callbacks.values()))


def test_every_task_ends_with_its_result(local: DaskExecutor) -> None:
    outcomes = list(local.run(double, range(20)))
    assert sorted((outcome.task, outcome.result) for outcome in outcomes) == [(n, 2 * n) for n in range(20)]
    assert not any(outcome.killed or outcome.error for outcome in outcomes)
    assert list(local.run(double, [])) == []


def test_nothing_is_told_to_whoever_asks_by_http(local: DaskExecutor) -> None:
    """The ports have no credentials, so other users of the machine can ask."""
    assert local.dashboard is None
    mine = psutil.Process()
    listening = [
        connection.laddr.port
        for process in (mine, *mine.children(recursive=True))
        for connection in process.net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 2 * WORKERS
    told = {}
    for port, page in itertools.product(listening, PAGES):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
                told[page] = answer.read()
        except (OSError, http.client.HTTPException):  # 404, or no HTTP
            continue
    assert not told


@pytest.mark.heavy
def test_workers_keep_no_record_of_what_they_ran_when(local: DaskExecutor, tmp_path: Path) -> None:
    """By default Dask keeps an hour of it; the page of --performance-report shows it."""
    assert [outcome.result for outcome in local.run(is_profiled, [0])] == [False]
    pytest.importorskip("bokeh")
    with DaskExecutor(workers=1, performance_report=tmp_path / "page.html") as reporting:
        assert [outcome.result for outcome in reporting.run(is_profiled, [0])] == [True]


def test_workers_have_little_to_do_beside_their_tasks(local: DaskExecutor) -> None:
    (outcome,) = local.run(shortest_interval, [0])
    assert outcome.result is not None
    assert outcome.result >= 100  # ms; by default 20


def test_workers_are_processes_that_share_the_machine(local: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPU_COUNT", 7)
    places = {outcome.result for outcome in local.run(where, range(6))}
    pids, numbers, threads = zip(*places, strict=True)
    assert len(set(pids) - {os.getpid()}) == WORKERS
    assert set(numbers) == {0, 1}
    assert set(threads) == {3}


def test_however_many_tasks_there_are_few_are_at_work(local: DaskExecutor) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for task in range(60):
            taken += 1
            yield task

    for finished, _ in enumerate(local.run(double, tasks())):
        assert taken - finished <= WORKERS * TASKS_PER_WORKER
    assert (taken, finished) == (60, 59)


def test_a_passing_error_is_got_over(local: DaskExecutor, tmp_path: Path) -> None:
    (outcome,) = local.run(fail_once, [tmp_path])
    assert (outcome.result, outcome.error) == ("done", None)


def test_an_error_that_stays_is_reported(local: DaskExecutor, tmp_path: Path) -> None:
    (outcome,) = local.run(fail_always, [tmp_path])
    assert (outcome.task, outcome.result, outcome.killed) == (tmp_path, None, False)
    assert isinstance(outcome.error, LookupError)
    assert str(outcome.error) == "no such thing"
    assert len(list(tmp_path.iterdir())) == 1 + RETRIES


def test_an_error_of_facemills_own_is_not_tried_again(local: DaskExecutor, tmp_path: Path) -> None:
    (outcome,) = local.run(lack_weights, [tmp_path])
    assert isinstance(outcome.error, DetectorError)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_task_that_workers_cannot_load_is_reported(local: DaskExecutor) -> None:
    (outcome,) = local.run(double, [Foreign(os.getpid())])
    assert isinstance(outcome.error, TypeError)
    assert str(outcome.error) == "what is this?"


def test_a_task_that_kills_its_worker_twice_is_given_up_and_the_others_finish(
    local: DaskExecutor, tmp_path: Path
) -> None:
    outcomes = list(local.run(die_of_poison, [tmp_path, *range(10)]))
    killed = [outcome for outcome in outcomes if outcome.killed]
    assert [outcome.task for outcome in killed] == [tmp_path]
    assert sorted(outcome.result for outcome in outcomes if not outcome.killed) == list(range(10))
    assert len(list(tmp_path.iterdir())) == 2
    assert [outcome.result for outcome in local.run(double, [4])] == [8]  # there are workers still


def test_workers_do_not_hear_ctrl_c(local: DaskExecutor) -> None:
    pids = {outcome.result[0] for outcome in local.run(where, range(6))}
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    assert {outcome.result[0] for outcome in local.run(where, range(6))} == pids
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_it_is_reachable_from_this_machine_only(local: DaskExecutor) -> None:
    here = psutil.Process()
    listening = [
        connection.laddr.ip
        for process in (here, *here.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > WORKERS
    assert set(listening) == {"127.0.0.1"}


def test_nobody_else_gets_in(local: DaskExecutor) -> None:
    """Neither in plain TCP nor with credentials of one's own."""
    address = local._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    for wrong, security in ((address.replace("tls", "tcp"), None), (address, distributed.Security.temporary())):
        with pytest.raises(OSError, match=r"Timed out|reset by peer|closed|does not match"):
            distributed.Client(wrong, security=security, timeout=2, set_as_default=False)
    assert [outcome.result for outcome in local.run(double, [3])] == [6]


def test_what_tasks_tell_is_heard(local: DaskExecutor) -> None:
    heard: list[object] = []
    outcomes = list(local.run(talk, [1, 2], heard.append))
    assert sorted(heard, key=str) == [{"task": 1}, {"task": 2}]
    assert [outcome.error for outcome in outcomes] == [None, None]

    def refuse(message: object) -> None:
        raise ConfigError("enough")

    with pytest.raises(ConfigError, match="enough"):
        list(local.run(talk, [1], refuse))


SCRIPT = """
from pathlib import Path
from facemill.pipeline.build.executors.dask import DaskExecutor
from tests.pipeline.build.executors.test_dask import double
with DaskExecutor(workers=1) as executor:
    print([outcome.result for outcome in executor.run(double, [1])])
"""


@pytest.mark.heavy
def test_a_script_without_a_main_guard_is_not_run_over_again(tmp_path: Path) -> None:
    assert run_script(SCRIPT, tmp_path) == (0, "[2]\n", "")


def test_threads_of_workers_are_not_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with DaskExecutor(workers=1) as executor:
        (outcome,) = executor.run(threads_of_worker, [1])
    assert outcome.result == "1"
    assert (os.environ["OMP_NUM_THREADS"], os.environ.get("MKL_NUM_THREADS")) == ("3", None)


def test_a_given_scheduler_is_used_and_left_running(address: str) -> None:
    for _ in range(2):
        with DaskExecutor(scheduler=address) as executor:
            assert [outcome.result for outcome in executor.run(double, [1])] == [2]
            (outcome,) = executor.run(where, [0])
            assert outcome.result[1:] == (0, 1)


def test_the_scheduler_is_not_asked_for_its_workers_after_every_task(address: str) -> None:
    with DaskExecutor(scheduler=address) as executor:
        asked = 0
        scheduler_info = executor._client.scheduler_info

        def counted(**options: object) -> object:
            nonlocal asked
            asked += 1
            return scheduler_info(**options)

        executor._client.scheduler_info = counted
        assert len([*executor.run(double, range(20))]) == 20
    assert asked == 1


@pytest.mark.heavy
def test_a_worker_whose_memory_is_nearly_full_still_gets_work() -> None:
    """Dask would pause it, beyond 80 % of its limit, and with it the build for ever."""
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
    own_memory = {"distributed.worker.multiprocessing-method": "spawn"}  # not that which workers of `local` share
    with (
        dask.config.set(own_memory),
        distributed.LocalCluster(n_workers=1, memory_limit="2 GB", **options) as cluster,
        DaskExecutor(scheduler=cluster.scheduler_address) as executor,
    ):
        outcomes = [*executor.run(keep, [1_600_000_000, 1, 2, 3])]
    assert [outcome.result for outcome in outcomes] == [1_600_000_000, 1, 2, 3]


@pytest.mark.heavy
def test_tasks_that_the_scheduler_forgets_are_errors(address: str) -> None:
    with DaskExecutor(scheduler=address) as executor, distributed.Client(address, set_as_default=False) as other:
        outcomes = executor.run(wait_long, [1])
        timer = threading.Timer(1.0, other.restart)
        timer.start()
        (outcome,) = outcomes
        timer.join()
    assert not outcome.killed
    assert "forgot its tasks: run the same command again" in str(outcome.error)


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(ConfigError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1 .*check the address"):
        DaskExecutor(scheduler="tcp://127.0.0.1:1").__enter__()
    with pytest.raises(ConfigError, match="No Dask scheduler answers at nonsense://here"):
        DaskExecutor(scheduler="nonsense://here").__enter__()
