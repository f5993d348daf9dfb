import signal
import threading
from collections.abc import Iterator
from typing import Any

import distributed
import psutil
import pytest

from facemill.pipeline.build.executors import forks
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.executors.own_processes import interrupts_blocked


@pytest.fixture
def other_thread() -> Iterator[int]:
    """A thread that was started before, and may thus be given any signal."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield thread.ident
    over.set()
    thread.join()


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.signal(number, handler) for number, handler in before.items()} == dict.fromkeys(before, stop)


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_begun_is_ended_before_an_interrupt(other_thread: int, number: signal.Signals) -> None:
    steps = []

    def start() -> None:
        signal.pthread_kill(other_thread, number)
        steps.append("begun")
        threading.Event().wait(0.1)  # Python would handle it here at the latest
        steps.append("ended")

    with pytest.raises(KeyboardInterrupt, match=str(number.value)), interrupts_blocked():
        start()
    assert steps == ["begun", "ended"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_start_during_an_interrupt_are_ended(
    other_thread: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Cluster(distributed.LocalCluster):
        def __init__(self, **options: Any) -> None:
            signal.pthread_kill(other_thread, number)
            super().__init__(**options)
            started.append(self)
            started.extend(psutil.Process().children(recursive=True))

    monkeypatch.setattr(distributed, "LocalCluster", Cluster)
    before = psutil.Process().children(recursive=True)
    with pytest.raises(KeyboardInterrupt), DaskExecutor(workers=1):
        pytest.fail("It was not interrupted.")
    cluster, *processes = started
    assert cluster.status == distributed.Status.closed
    _, alive = psutil.wait_procs([one for one in processes if one not in before], timeout=30)
    assert {"resource_tracker" in " ".join(one.cmdline()) for one in alive} <= {True}


def test_a_fork_server_that_starts_during_an_interrupt_is_ended(
    other_thread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Server(forks._Server):
        def ensure_running(self) -> None:
            signal.pthread_kill(other_thread, signal.SIGINT)
            super().ensure_running()
            started.append(psutil.Process(self._forkserver_pid))

    monkeypatch.setattr(forks, "_Server", Server)
    with pytest.raises(KeyboardInterrupt), forks.forks({}):
        pytest.fail("It was not interrupted.")
    assert forks._Process.servers == []
    [server] = started
    assert not server.is_running()
