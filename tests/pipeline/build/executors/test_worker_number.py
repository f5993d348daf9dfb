"""Numbers of workers, by which they share the GPUs of a machine, and the GPU that each number gets."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest
import torch
from distributed.deploy.spec import SpecCluster

from facemill.pipeline.build import groups
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.executors.numbering import WorkerNumbers

GPUS, WORKERS = 8, 4
HOSTS = ("127.0.0.1", "127.0.0.2")


def addresses(host: str, count: int = 8) -> list[str]:
    return [f"tcp://{host}:{40000 + number}" for number in range(count)]


def rotated(first: int) -> str:
    """As dask-cuda sets it for each worker: all GPUs, its own first."""
    return ",".join(str((first + number) % GPUS) for number in range(GPUS))


ONE_HOST, TWO_HOSTS = addresses("10.0.0.1"), [*addresses("10.0.0.1", 3), *addresses("10.0.0.2", 3)]


@pytest.mark.parametrize(
    ("visible", "gpus_seen", "expected"),
    [
        (dict.fromkeys(ONE_HOST), GPUS, [f"cuda:{number}" for number in range(8)]),
        (dict.fromkeys(TWO_HOSTS), GPUS, ["cuda:0", "cuda:1", "cuda:2"] * 2),
        ({a: rotated(number) for number, a in enumerate(ONE_HOST)}, GPUS, ["cuda:0"] * 8),
        ({a: str(number) for number, a in enumerate(ONE_HOST)}, 1, ["cuda:0"] * 8),
        ({a: ("0,1", "2,3")[number // 4] for number, a in enumerate(ONE_HOST)}, 2, ["cuda:0", "cuda:1"] * 4),
        (dict.fromkeys(addresses("10.0.0.1", 16)), GPUS, [f"cuda:{number}" for number in range(8)] * 2),
    ],
    ids=["one host", "two hosts", "dask-cuda", "a GPU each", "two jobs of two GPUs", "two workers per GPU"],
)
def test_workers_of_a_host_are_dealt_out_over_the_gpus_that_they_see(
    visible: dict[str, str | None], gpus_seen: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus_seen)
    numbers = WorkerNumbers()
    numbers.add(visible, list)
    assert [groups.device_of_worker("auto", numbers.of[address]) for address in visible] == expected
    assert groups.device_of_worker("cuda:1" if gpus_seen > 1 else "cuda:0", 5).startswith("cuda:")


def test_a_named_gpu_and_the_cpu_are_not_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: GPUS)
    assert [groups.device_of_worker("cuda:3", number) for number in range(3)] == ["cuda:3"] * 3
    assert groups.device_of_worker("cpu", 5) == "cpu"


def test_a_worker_in_the_place_of_a_dead_one_takes_its_number_and_the_others_keep_theirs() -> None:
    numbers = WorkerNumbers()
    numbers.add(dict.fromkeys(ONE_HOST), list)
    late = "tcp://10.0.0.1:50000"
    alive = [*ONE_HOST[:3], *ONE_HOST[4:], late]
    numbers.add({late: None}, lambda: alive)
    assert numbers.of == {address: n for n, address in enumerate(ONE_HOST) if n != 3} | {late: 3}
    numbers.add({late: None}, lambda: pytest.fail("it has a number"))
    another = "tcp://10.0.0.1:50001"
    numbers.add({another: None}, lambda: [*alive, another])
    assert numbers.of[another] == 8


def test_local_processes_are_as_many_as_gpus() -> None:
    assert DaskExecutor(gpus=GPUS).workers == GPUS
    assert DaskExecutor(gpus=GPUS, workers=3).workers == 3


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
    scheduler = {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs="CRITICAL") as running:
        yield running


def describe() -> dict[str, list[str]]:
    return {"unseen": []}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asked_before", [True, False])
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
