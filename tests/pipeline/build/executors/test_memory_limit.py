"""Workers whose memory Dask limits, as on somebody's cluster: a real build under a real limit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import distributed
import pyarrow.parquet as pq
import pytest

from facemill.manifests import VideoEntry
from facemill.pipeline.build import build
from facemill.pipeline.build.executors.dask import SETTINGS, DaskExecutor
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.conftest import Actor, film

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cluster() -> Iterator[Callable[[str], str]]:
    """Starts a scheduler and a worker with a limit; gives the address."""
    started = []

    def start(limit: str) -> str:
        options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
        started.append(distributed.LocalCluster(n_workers=1, memory_limit=limit, **options))
        return str(started[0].scheduler_address)

    with dask.config.set(SETTINGS):
        yield start
        started[0].close()


def test_where_dask_kills_every_worker_that_processes_a_group_all_are_whole(
    cluster: Callable[[str], str], add_video: Callable[..., VideoEntry], tmp_path: Path
) -> None:
    """The limit is above what a worker takes that only commits, and under what torch takes."""
    videos = [add_video(name, film([Actor(60, 60)], 6)) for name in ("one", "two")]
    recipe = load_recipe("default", ["sample.frames=2"])
    report = build(videos, recipe, tmp_path / "out", scheduler=cluster("450 MiB"), device="cpu")
    failures = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    facts = pq.read_table(tmp_path / "out" / "facts.parquet").to_pylist()
    assert {failure["reason"] for failure in failures} <= {"no_face"}  # drawn marks are no faces to a real detector
    assert report.videos == 2
    assert {row["video_id"] for row in facts} == {"one", "two"}


def hold(size: int, number: int, threads: int) -> int:
    """A task that leaves the process with much memory, as a decoder's caches do."""
    kept.append(b"1" * size)
    return size


kept: list[bytes] = []


def test_a_worker_whose_memory_is_nearly_full_goes_on_to_get_work(cluster: Callable[[str], str]) -> None:
    """Dask would pause it, at 80 % of the limit, for ever."""
    address = cluster("1000 MB")
    with DaskExecutor(scheduler=address) as executor:
        outcomes = [*executor.run(hold, [780_000_000, 1, 2])]
    assert [outcome.result for outcome in outcomes] == [780_000_000, 1, 2]
