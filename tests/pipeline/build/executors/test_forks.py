"""Workers are forked from a process of the build's own, whatever else the process that builds has started."""

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.patience import Limits
from tests.pipeline.build.executors.scripts import run_script

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

SET = {"MALLOC_ARENA_MAX": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def local() -> Iterator[DaskExecutor]:
    """In a process that has a fork server already, as by default from Python 3.14."""
    process = multiprocessing.get_context("forkserver").Process(target=abs, args=(1,))
    process.start()
    process.join()
    with pytest.MonkeyPatch.context() as patch:
        for name in SET:
            patch.delenv(name, raising=False)
        executor = DaskExecutor(workers=2)
        executor.watch(Limits(wait_s=20), print, lambda task: None)
        with executor:
            yield executor


def seen(task: int, number: int, threads: int) -> tuple[int, bool, bool]:
    imported = {"torch", "cv2", "scipy", "av", "pandas", "facemill.pipeline.build.groups"} <= set(sys.modules)
    import torch

    time.sleep(0.3)  # so that both workers get some
    return os.getpid(), imported, torch.cuda.is_initialized()


def copied(task: int, number: int, threads: int) -> int:
    before = psutil.Process().memory_full_info().uss
    gc.collect()
    return psutil.Process().memory_full_info().uss - before


def pids(executor: DaskExecutor) -> set[int]:
    return {outcome.result[0] for outcome in executor.run(seen, range(6))}


def server_of(executor: DaskExecutor) -> psutil.Process:
    (server,) = {psutil.Process(pid).parent() for pid in pids(executor)}
    return server


def test_they_are_forked_once_all_is_imported_and_nothing_runs(local: DaskExecutor) -> None:
    results = {outcome.result for outcome in local.run(seen, range(6))}
    assert len(results) == 2
    assert {found[1:] for found in results} == {(True, False)}
    server = server_of(local)
    assert server.pid != forkserver._forkserver._forkserver_pid
    assert server.parent() == psutil.Process()
    assert SET.items() <= server.environ().items()
    names = [(task / "comm").read_text().strip() for task in Path(f"/proc/{server.pid}/task").iterdir()]
    assert [name for name in names if not name.startswith("jemalloc")] == names[:1]  # Arrow's, which knows of forks


def test_what_was_imported_stays_shared(local: DaskExecutor) -> None:
    """A collection writes to each object that it looks at."""
    assert max(outcome.result for outcome in local.run(copied, range(4))) < 10 * 2**20


def test_they_do_not_hear_ctrl_c(local: DaskExecutor) -> None:
    before = pids(local)
    for pid in (server_of(local).pid, *before):
        os.kill(pid, signal.SIGINT)
    assert pids(local) == before


def test_each_comes_again_when_the_process_that_they_are_forked_from_is_killed(local: DaskExecutor) -> None:
    before, server = pids(local), server_of(local)
    server.kill()
    psutil.wait_procs([psutil.Process(pid) for pid in before if psutil.pid_exists(pid)], timeout=60)
    after = pids(local)
    assert len(after) == 2
    assert not after & before
    assert server_of(local) != server


def test_where_none_can_be_forked_they_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver.ForkServer, "connect_to_new_process", lambda self, fds: Path("gone").read_bytes())
    with DaskExecutor(workers=1) as executor:
        (outcome,) = executor.run(seen, [1])
        assert outcome.result[1:] == (False, False)
        assert psutil.Process(outcome.result[0]).parent() == psutil.Process()


SCRIPT = """
import multiprocessing, os, psutil, time
from tests.pipeline.build.executors.test_forks import seen
if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=abs, args=(1,))
    process.start()
    process.join()
    if os.fork():
        raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
    from facemill.pipeline.build.executors.dask import DaskExecutor
    with DaskExecutor(workers=1) as executor:
        print([outcome.result[1:] for outcome in executor.run(seen, [1])])
        below = psutil.Process().children(recursive=True)
    print([" ".join(one.cmdline()) for one in below if one.is_running() and "tracker" not in " ".join(one.cmdline())])
"""


def test_in_a_forked_process_and_nothing_stays(tmp_path: Path) -> None:
    """The fork server that such a process knows is not its child."""
    assert run_script(SCRIPT, tmp_path) == (0, "[(True, False)]\n[]\n", "")
