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
from facemill.pipeline.build.executors import Certificates
from facemill.pipeline.build.executors import dask as module
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.executors.reaching import plain_warning
from facemill.pipeline.build.executors.sequential import SequentialExecutor
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


def test_tls_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    clients, start = [], distributed.Client.start
    monkeypatch.setattr(distributed.Client, "start", lambda self, **how: clients.append(self) or start(self, **how))
    with cluster(security=distributed.Security.temporary()) as running:
        address = running.scheduler_address
        assert address.startswith("tls://")
        assert "needs certificates: name them in --tls-ca, --tls-cert and --tls-key, or DASK_" in refused(address)
        assert "or needs tls:// and certificates" in refused(address.replace("tls", "tcp"))
    assert [client.status for client in clients] == ["closed", "closed"], "closing one later may wait for ever"


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
                assert "cannot be read: check the files named by --tls-ca" in refused(running.scheduler_address)


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


@pytest.mark.heavy
def test_workers_that_hang_or_all_die() -> None:
    with cluster(n_workers=1) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        [pid] = executor._client.run(os.getpid).values()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ClusterError, match=r"do not answer \(no answer within 3 s\): check their logs"):
            executor.choose_workers(double, 1, 0, 0, choose=list)
        os.kill(pid, signal.SIGCONT)
        timer = threading.Timer(1.0, running.scale, [0])
        timer.start()
        told: list[str] = []
        executor.warn = told.append  # type: ignore[method-assign]
        with pytest.raises(ClusterError, match="There has been no worker for 3 s"):
            list(executor.run(wait_long, [1]))
        assert told == ["Waiting for workers: there is no worker. The command ends after 3 s."]
        timer.join()


@pytest.mark.heavy
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
        assert blind in executor._watch.workers()


def test_certificates_from_options_are_used_and_only_with_a_scheduler(tmp_path: Path) -> None:
    security = distributed.Security.temporary()
    texts = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with pytest.raises(ConfigError, match="name one, or leave out --tls"):
        DaskExecutor(certificates=Certificates(*files))
    with cluster(security=security, n_workers=1) as running:
        assert running.scheduler_address.startswith("tls://")
        with DaskExecutor(scheduler=running.scheduler_address, certificates=Certificates(*files)) as executor:
            assert [outcome.result for outcome in executor.run(double, [1])] == [2]
    with pytest.raises(ConfigError, match="leave out --workers, --scheduler, --tls"):
        SequentialExecutor(certificates=Certificates(*files))


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        *(("tcp://node1:8786", True), ("node1:8786", True), ("tcp://10.0.0.7:8786", True), ("ws://node1:8786", True)),
        *(("tls://node1:8786", False), ("tcp://127.0.0.1:8786", False), ("localhost:8786", False)),
        *(("tcp://[::1]:8786", False), ("tcp://[fd00::7]:8786", True)),
    ],
)
def test_what_other_machines_may_reach_without_tls_is_warned_of(address: str, warned: bool) -> None:
    line = plain_warning(address)
    assert (line is not None) == warned
    assert line is None or f"{address} is not secured: anyone who reaches the scheduler runs code" in line


def test_what_ends_in_time_gives_its_result_or_its_error() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    told: list[str] = []
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        within(0.1, threading.Event().wait, lambda: told.append("waiting"))
    assert told == ["waiting"]
