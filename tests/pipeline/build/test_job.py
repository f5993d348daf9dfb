"""A whole build in this process, with a detector without a network; integration tests build on Dask."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facemill import ConfigError, DatasetError
from facemill.manifests import VideoEntry
from facemill.manifests.checks.verify import verify
from facemill.pipeline.build.job import Watcher, build, finish_build
from facemill.pipeline.build.state import GroupDone, ShardResult
from facemill.pipeline.config.recipe import load_recipe
from tests.integration.command import content
from tests.pipeline.build.test_shard import BIG, FRAMES, AddVideo
from tests.pipeline.conftest import film

pytestmark = pytest.mark.usefixtures("mark_detector")

RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=3", "shards.samples_per_shard=6"])


@pytest.fixture
def videos(add_video: AddVideo) -> list[VideoEntry]:
    """Three reals, each with a fake."""
    entries = []
    for n in range(3):
        entries.append(add_video(f"real{n}", film([BIG], FRAMES, seed=n)))
        entries.append(add_video(f"fake{n}", film([BIG], FRAMES, forged=0, seed=n), 1, source_id=f"real{n}"))
    return entries


class Notes(Watcher):
    def __init__(self) -> None:
        self.videos = 0
        self.shards: list[str] = []
        self.groups: list[tuple[str, int, int]] = []

    def group(self, done: GroupDone) -> None:
        self.groups.append((done.shard_id, done.videos, done.samples))

    def begin(self, videos: int) -> None:
        self.videos = videos

    def shard(self, result: ShardResult, *, built: bool) -> None:
        self.shards.append(f"{result.shard_id} {'built' if built else 'was there'}")


def test_parts_in_any_order_and_finish_come_to_the_bytes_of_one_build(videos: list[VideoEntry], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    whole = build(videos, RECIPE, tmp_path / "whole", executor="sequential")
    assert (whole.videos, whole.shards, whole.samples) == (6, 3, 18)
    assert torch.get_num_threads() == threads  # as the caller had it
    out, notes = tmp_path / "parts", Notes()
    reports = [build(videos, RECIPE, out, executor="sequential", part=(n, 2), watcher=notes) for n in (2, 1)]
    assert [(report.videos, report.shards, report.samples) for report in reports] == [(2, 1, 6), (4, 2, 12)]
    assert not (out / "dataset.json").exists()
    assert notes.videos == 4
    assert notes.groups == [("train-000001", 2, 6), ("train-000000", 2, 6), ("train-000002", 2, 6)]
    assert notes.shards == ["train-000001 built", "train-000000 built", "train-000002 built"]
    assert finish_build(videos, RECIPE, out) == dataclasses.replace(whole, out=out)
    assert content(out) == content(tmp_path / "whole")
    assert verify(out).ok
    build(videos, RECIPE, out, executor="sequential", watcher=notes)
    assert all(line.endswith("was there") for line in notes.shards[3:])


def test_finishing_what_is_not_built_or_damaged_is_refused(videos: list[VideoEntry], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(videos, RECIPE, out, executor="sequential", part=(1, 3))
    with pytest.raises(DatasetError, match="2 of 3 shards are not built, the first is train-000001: run the parts"):
        finish_build(videos, RECIPE, out)
    for n in (2, 3):
        build(videos, RECIPE, out, executor="sequential", part=(n, 3))
    (out / "train" / "train-000002.parquet").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="1 of 3 shards are not built, the first is train-000002"):
        finish_build(videos, RECIPE, out)
    with pytest.raises(ConfigError, match="another recipe"):
        finish_build(videos, load_recipe("default"), out)


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_parts_are_numbered_from_one(videos: list[VideoEntry], part: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no part {part[0]}/{part[1]}"):
        build(videos, RECIPE, tmp_path / "out", executor="sequential", part=part)
    assert not (tmp_path / "out").exists()


def test_more_parts_than_shards(videos: list[VideoEntry], tmp_path: Path) -> None:
    report = build(videos, RECIPE, tmp_path / "out", executor="sequential", part=(5, 7))
    assert (report.videos, report.failure_rate) == (0, 0)


def test_dask_is_imported_only_where_it_is_asked_for() -> None:
    say = "import sys, facemill.pipeline.build.job as job; job.EXECUTORS['sequential']()\n"
    say += "print({'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
