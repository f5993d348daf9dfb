"""Processes of a build that are killed, told to stop or frozen at any moment."""

import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import KILLS, SEED, Corpus
from tests.chaos.processes import cluster, is_server, workers_of
from tests.integration.command import ended, start

LONGEST_S = 8.0
"""Moments are drawn from this time: from the first import to the end of a build."""
FROZEN_S = 3.0
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def disturb(process: psutil.Process, how: signal.Signals) -> None:
    """Send a signal; a frozen process goes on after a while."""
    try:
        process.send_signal(how)
        if how == signal.SIGSTOP:
            time.sleep(FROZEN_S)
            process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        pass


def tracebacks(said: str) -> list[str]:
    """Those that were printed, but for Python's tracker of semaphores, which those of killed processes confuse."""
    return [part for part in said.split("Traceback")[1:] if "resource_tracker.py" not in part.splitlines()[1]]


def check_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def test_driver_and_workers_of_one_machine(corpus: Corpus, tmp_path: Path) -> None:
    chosen = random.Random(SEED)
    out, kills = tmp_path / "0", 0
    while kills < KILLS:
        target, how = chosen.choice(("driver", "worker", "server")), chosen.choice(SIGNALS)
        moment = chosen.uniform(0, LONGEST_S)
        with start(*corpus.args(out, "--workers", 2)) as process:
            driver = psutil.Process(process.pid)
            time.sleep(moment)
            below = driver.children(recursive=True) if process.poll() is None else []
            workers = workers_of(driver) if below else []
            servers = [one for one in below if one not in workers and is_server(one)]
            targets = {"driver": [driver], "worker": workers, "server": servers}[target]
            if process.poll() is None and targets:
                disturb(chosen.choice(targets), how)
                kills += 1
            done = ended(process)
        check_gone(below)
        told = (target, how.name, moment, done)
        if target == "driver" and how != signal.SIGSTOP:
            assert done.code in (0, 4, -how), told
        else:
            assert done.code == 0 or (done.code == 4 and "did not start" in done.err), told  # Dask tries that once
        assert not tracebacks(done.err) or done.code == -how, told  # Python's own, while it imports the command
        out = corpus.after(out, finished=done.code == 0)
    corpus.finish(out)
    print(f"{kills} signals in {int(out.name) + 1} builds")


def test_scheduler_nanny_and_worker_of_a_cluster(corpus: Corpus, tmp_path: Path) -> None:
    """Whatever is killed, the command ends, with a sentence; on another cluster it goes on."""
    chosen = random.Random(SEED)
    out, limit = tmp_path / "0", ("--wait-limit", 60)
    for _ in range(max(1, KILLS // 10)):
        target = chosen.choice(("scheduler", "nanny", "worker", "driver"))
        how, moment = chosen.choice(SIGNALS), chosen.uniform(0, LONGEST_S)
        with cluster() as (address, processes), start(*corpus.args(out, *limit, "--scheduler", address)) as process:
            time.sleep(moment)
            disturb(psutil.Process(process.pid) if target == "driver" else processes[target], how)
            done = ended(process)
        told = (target, how.name, moment, done)
        assert done.code in (0, 2, 4, -how), told
        assert not tracebacks(done.err) or done.code == -how, told
        out = corpus.after(out, finished=done.code == 0)
    corpus.finish(out)
