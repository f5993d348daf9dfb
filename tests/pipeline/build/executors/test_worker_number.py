"""Numbers of workers, by which they share the GPUs of a machine, and the GPU that each number gets."""

import pytest
import torch

from facemill.pipeline.build import groups
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.executors.numbering import WorkerNumbers

GPUS = 8


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
