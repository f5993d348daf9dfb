"""Workers of a cluster, some on another host, are numbered. Imports no torch, which every worker would import too."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest
from distributed.deploy.spec import SpecCluster

from facemill.pipeline.build.executors.dask import DaskExecutor

WORKERS = 4
HOSTS = ("127.0.0.1", "127.0.0.2")


def place_of(folder: Path, number: int, threads: int) -> tuple[str, int]:
    address: str = distributed.get_worker().address
    (folder / address.rpartition("/")[2]).touch()
    while len(list(folder.iterdir())) < WORKERS:  # so that every worker gets a task
        time.sleep(0.1)
    return address, number


@contextmanager
def cluster(places: list[tuple[str, str | None]]) -> Iterator[SpecCluster]:
    """Workers in processes, each at a host and with `CUDA_VISIBLE_DEVICES`."""
    workers = {}
    for name, (host, gpus) in enumerate(places):
        env = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        options = {"host": host, "nthreads": 1, "env": env, "silence_logs": "CRITICAL", "dashboard": False}
        workers[f"worker-{name}"] = {"cls": distributed.Nanny, "options": options}
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs="CRITICAL") as running:
        yield running


def describe() -> dict[str, list[str]]:
    return {"unseen": []}


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("asked_before", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets that Dask leaves open
def test_workers_of_a_cluster_are_numbered_by_host_and_visible_gpus(asked_before: bool, tmp_path: Path) -> None:
    places = [(HOSTS[0], None), (HOSTS[0], None), (HOSTS[1], "0,1"), (HOSTS[1], "1,0")]
    with cluster(places) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        executor._client.wait_for_workers(WORKERS)
        if asked_before:
            executor.choose_workers(describe, choose=list)
        found = {outcome.result for outcome in executor.run(place_of, [tmp_path] * WORKERS)}
    hosts = Counter((address.split("/")[2].split(":")[0], number) for address, number in found)
    assert hosts == {(HOSTS[0], 0): 1, (HOSTS[0], 1): 1, (HOSTS[1], 0): 2}
