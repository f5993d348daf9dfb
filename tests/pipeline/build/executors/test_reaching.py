"""Servers that are not schedulers, hang, or need TLS: each attempt to connect ends in time with its own message."""

import os
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from facemill import ClusterError, ConfigError, FacemillError
from facemill.pipeline.build.executors import dask as module
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.patience import Limits, within
from tests.pipeline.build.executors.test_dask import double, wait_long

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that Dask leaves open
]

SECONDS = 3.0
LONGEST_S = 30.0
"""Until the command has ended; the machine may be busy."""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", SECONDS)
    monkeypatch.setattr(DaskExecutor, "limits", Limits(wait_s=SECONDS))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.5)


@contextmanager
def cluster(**options: Any) -> Iterator[distributed.LocalCluster]:
    quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL", "threads_per_worker": 1}
    with distributed.LocalCluster(**{"n_workers": 0, **quiet, **options}) as running:
        yield running


def certificates(security: distributed.Security) -> dict[str, str]:
    """Dask's settings for these temporary credentials, as a user gives paths."""
    options = {"ca-file": security.tls_ca_file, "client.cert": security.tls_client_cert}
    return {f"distributed.comm.tls.{name}": value for name, value in options.items()} | {
        "distributed.comm.tls.client.key": security.tls_client_key
    }


def refused(address: str) -> str:
    """The sentence, which comes in time."""
    start = time.monotonic()
    with pytest.raises(FacemillError) as error:
        DaskExecutor(scheduler=address).__enter__()
    assert time.monotonic() - start < LONGEST_S
    return str(error.value)


def test_tls_without_certificates() -> None:
    with cluster(security=distributed.Security.temporary()) as running:
        address = running.scheduler_address
        assert address.startswith("tls://")
        assert "needs certificates: name them in DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in refused(address)
        assert "or needs tls:// and certificates" in refused(address.replace("tls", "tcp"))


def test_certificates_in_dask_s_settings_are_used() -> None:
    security = distributed.Security.temporary()
    with (
        cluster(security=security, n_workers=1) as running,
        dask.config.set(certificates(security)),
        DaskExecutor(scheduler=running.scheduler_address) as executor,
    ):
        assert [outcome.result for outcome in executor.run(double, [1])] == [2]


def test_a_plain_scheduler_behind_tls_and_other_certificates() -> None:
    with dask.config.set(certificates(distributed.Security.temporary())):
        with cluster() as running:
            assert "has no TLS, or other certificates" in refused(running.scheduler_address.replace("tcp", "tls"))
        with cluster(security=distributed.Security.temporary()) as running:
            assert "has no TLS, or other certificates" in refused(running.scheduler_address)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("my certificate")
    with cluster(security=(security := distributed.Security.temporary())) as running:
        for name in ("none.pem", "text.pem"):
            own = {"distributed.comm.tls.client.cert": str(tmp_path / name)}
            with dask.config.set({**certificates(security), **own}):
                assert "cannot be read: check the files named by DASK_" in refused(running.scheduler_address)


def test_encryption_that_is_required() -> None:
    with cluster() as running, dask.config.set({"distributed.comm.require-encryption": True}):
        assert "require-encryption refuses tcp://" in refused(running.scheduler_address)


def test_a_web_server() -> None:
    class Refuse(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sentence = refused(f"tcp://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert "is not a Dask scheduler" in sentence


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sentence = refused(f"tcp://127.0.0.1:{server.getsockname()[1]}")
    assert "has not answered within 3 s: restart it" in sentence


def test_no_workers_ever() -> None:
    with cluster() as running:
        assert "has no workers: start workers" in refused(running.scheduler_address)


def test_workers_that_hang_or_all_die() -> None:
    with cluster(n_workers=1) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        [pid] = executor._client.run(os.getpid).values()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ConfigError, match=r"do not answer \(no answer within 3 s\): check their logs"):
            executor.choose_workers(double, 1, 0, 0, choose=list)
        os.kill(pid, signal.SIGCONT)
        timer = threading.Timer(1.0, running.scale, [0])
        timer.start()
        with pytest.raises(ClusterError, match="There has been no worker for 3 s"):
            list(executor.run(wait_long, [1]))
        timer.join()


def test_a_worker_that_is_left_out_does_not_count_when_the_others_die() -> None:
    with cluster(n_workers=2) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        pids = executor._client.run(os.getpid)
        blind, seeing = sorted(pids)
        executor.choose_workers(double, 1, 0, 0, choose=lambda told: [seeing])
        timer = threading.Timer(1.0, executor._client.retire_workers, [[seeing]])
        timer.start()
        with pytest.raises(ClusterError, match="There has been no worker that can be used for 3 s"):
            list(executor.run(wait_long, [1]))
        timer.join()
        assert blind in executor._workers()


def test_what_ends_in_time_gives_its_result_or_its_error() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        within(0.1, lambda: time.sleep(2))
