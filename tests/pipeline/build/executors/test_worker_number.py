"""Numbers of workers, by which they share the GPUs of a machine."""

import pickle
from types import SimpleNamespace

import distributed
import pytest

from facemill.pipeline.build.executors import dask as module


def number_of(task: object, number: int, threads: int) -> int:
    return number


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        ([0, 1, 2], [0, 1, 2]),
        (["tcp://10.0.0.1:40001", "tcp://10.0.0.1:40002", "tcp://10.0.0.2:40001"], None),
    ],
)
def test_workers_have_numbers_of_their_own(
    names: list[object], numbers: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a cluster of somebody else have names instead, whose numbers must differ, and stay."""
    found = []
    for name in [*names, *names]:
        worker = SimpleNamespace(name=name, address=f"{name}", memory_manager=SimpleNamespace(), log_event=print)
        monkeypatch.setattr(distributed, "get_worker", lambda worker=worker: worker)
        found.append(module._call(pickle.dumps((number_of, None)), 1, "topic", None))
    assert found[: len(names)] == found[len(names) :]
    assert len(set(found)) == len(names)
    assert numbers is None or found[: len(names)] == numbers
