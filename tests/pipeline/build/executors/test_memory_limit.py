"""Workers with a memory limit set by Dask, as on an existing cluster: a real build under a real limit."""

from collections.abc import Callable
from pathlib import Path

import dask
import distributed
import pyarrow.parquet as pq
import pytest

from facemill.manifests import VideoEntry
from facemill.pipeline.build import build
from facemill.pipeline.build.executors.dask import SETTINGS
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.conftest import Actor, film

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(300)]


def test_where_dask_kills_every_worker_that_processes_a_group_all_are_whole(
    add_video: Callable[..., VideoEntry], tmp_path: Path
) -> None:
    """The limit is above what a worker takes that only commits, and under what torch takes."""
    video = add_video("one", film([Actor(60, 60)], 4))
    recipe = load_recipe("default", ["sample.frames=2"])
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
    with (
        dask.config.set(SETTINGS),
        distributed.LocalCluster(n_workers=1, memory_limit="330 MiB", **options) as cluster,
    ):
        report = build([video], recipe, tmp_path / "out", scheduler=cluster.scheduler_address, device="cpu")
    failures = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    facts = pq.read_table(tmp_path / "out" / "facts.parquet").to_pylist()
    assert {failure["reason"] for failure in failures} <= {"no_face"}  # drawn marks are no faces to a real detector
    assert [row["video_id"] for row in facts] == ["one"]
    assert report.videos == 1
