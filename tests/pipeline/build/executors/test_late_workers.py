"""Workers that join after the others were chosen: those without facemill, and those that differ."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from facemill import ConfigError
from facemill.pipeline.build.executors.dask import DaskExecutor
from tests.pipeline.build.executors.test_dask import double
from tests.pipeline.build.executors.test_reaching import cluster

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that Dask leaves open
]

HIDDEN = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("facemill", "tests"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Hide())
for name in [name for name in sys.modules if name.partition(".")[0] == "facemill"]:
    del sys.modules[name]
"""


def test_a_late_worker_without_facemill_fails_instead_of_hanging(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(HIDDEN)
    with (
        cluster(n_workers=1, preload=[str(tmp_path / "bare.py")]) as running,
        DaskExecutor(scheduler=running.scheduler_address) as executor,
    ):
        [outcome] = executor.run(double, [1])
    assert isinstance(outcome.error, ImportError)
    assert "No module named 'facemill" in str(outcome.error)


def sees(place: str, first: int) -> dict[str, Any]:
    """What a worker says of itself: the folder is hidden from all processes but the first."""
    return {"unseen": [] if os.getpid() == first else [place]}


def sleepy(task: int, number: int, threads: int) -> int:
    time.sleep(0.5)
    return os.getpid()


@pytest.mark.heavy
@pytest.mark.parametrize("fatal", [False, True])
def test_a_late_worker_that_differs_gets_no_work(fatal: bool) -> None:
    told_of: list[str] = []

    def choose(told: dict[str, Any]) -> list[str]:
        for address, each in told.items():
            if each["unseen"] and fatal:
                raise ConfigError("another version")
            if each["unseen"]:
                told_of.append(address)
        return [address for address, each in told.items() if not each["unseen"]]

    with cluster(n_workers=1) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        [first] = executor._watch.workers()
        [pid] = executor._client.run(os.getpid).values()
        executor.choose_workers(sees, "/data", pid, choose=choose)
        running.scale(2)
        executor._client.wait_for_workers(2)
        if fatal:
            with pytest.raises(ConfigError, match="another version"):
                list(executor.run(sleepy, range(6)))
        else:
            outcomes = list(executor.run(sleepy, range(6)))
            assert [outcome.result for outcome in outcomes] == [pid] * 6
            [late] = set(executor._watch.workers()) - {first}
            assert told_of == [late]
            executor._client.retire_workers([first])
            with pytest.raises(ConfigError, match="No worker"):
                executor._late.leave_out(late, {"unseen": ["/data"]}, executor._watch.workers())


@pytest.mark.heavy
def test_only_chosen_workers_work() -> None:
    with cluster(n_workers=2) as running, DaskExecutor(scheduler=running.scheduler_address) as executor:
        pids = executor._client.run(os.getpid)
        [chosen, _] = sorted(pids)
        executor.choose_workers(sees, "/data", 0, choose=lambda told: [chosen])
        assert {outcome.result for outcome in executor.run(sleepy, range(4))} == {pids[chosen]}
