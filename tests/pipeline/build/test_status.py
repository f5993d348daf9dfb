"""What a build's state folder tells: written here by a real build, and by a run that is made to look under way."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from facemill import DatasetError
from facemill.manifests import ClipGroup
from facemill.pipeline.build.beats import Beat
from facemill.pipeline.build.job import build
from facemill.pipeline.build.plan import ShardSpec
from facemill.pipeline.build.run_folder import LEASE_S, attempt, holding, run_folder
from facemill.pipeline.build.state import GroupDone
from facemill.pipeline.build.status import Status, exposition, read_status
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.build.test_shard import BIG, FRAMES, AddVideo
from tests.pipeline.conftest import film

RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=3", "shards.samples_per_shard=3"])


@pytest.fixture
def out(add_video: AddVideo, tmp_path: Path, mark_detector: object) -> Path:
    """Two of three shards are built; in one of them a file is no video."""
    videos = [add_video(f"real{n}", film([BIG], FRAMES, seed=n)) for n in range(3)]
    (tmp_path / "data" / "real1.mp4").write_bytes(b"half a download")
    for part in (1, 2):
        build(videos, RECIPE, tmp_path / "out", executor="sequential", part=(part, 3))
    return tmp_path / "out"


def test_of_a_build_that_was_stopped(out: Path) -> None:
    found = read_status(out)
    assert (found.shards_done, found.shards, found.videos_done, found.videos) == (2, 3, 2, 3)
    assert (found.samples, found.failures) == (3, {"unreadable": 1})
    assert (found.finished, found.runs, found.in_hand, found.videos_per_s, found.seconds_left) == (
        *(False, (), (), None, None),
    )
    assert json.loads(json.dumps(asdict(found)))["shards"] == 3


def test_of_a_run_under_way_with_its_shards_in_hand(out: Path) -> None:
    spec = ShardSpec("train-000002", "train", (ClipGroup(None, ()),) * 4)
    with holding(out, shared=False) as run:
        began = time.time() - 100
        os.utime(run_folder(out, run) / "holder.json", (began, began))
        state = out / "_state"
        os.utime(state / "train-000000.json", (began - 50,) * 2)  # of an earlier run
        with attempt(out, run, spec.shard_id) as folder, Beat(folder, replace(spec, groups=())) as beat:
            beat.group(GroupDone(spec.shard_id, 3, 9, 1))
            beat.stage('de"tect')
            beat.write()
            found = read_status(out)
        [hand] = found.in_hand
        assert (hand.shard, hand.pid, hand.stage) == (spec.shard_id, os.getpid(), 'de"tect')
        assert (hand.videos, hand.samples, hand.failures) == (3, 9, 1)
        assert (found.videos_done, found.samples, found.finished) == (5, 12, False)
        assert found.videos_per_s == pytest.approx(4 / 100, rel=0.1)  # one shard of this run, and what is in hand
        [of_run] = found.runs
        assert (of_run.pid, of_run.alive) == (os.getpid(), True)
        page = exposition(found)
        assert "facemill_build_videos_done 5\n" in page
        assert 'facemill_build_failures{reason="unreadable"} 1\n' in page
        assert f'facemill_shard_still_s{{shard="train-000002",host="{hand.host}",stage="de\\"tect"}} 0' in page
        os.utime(run_folder(out, run) / "beat", (time.time() - LEASE_S - 10,) * 2)
        silent = read_status(out)
        assert ([each.alive for each in silent.runs], silent.videos_per_s) == ([False], None)


def test_the_time_left_is_what_is_left_at_that_rate(out: Path) -> None:
    with holding(out, shared=False) as run:
        began = time.time() - 100
        os.utime(run_folder(out, run) / "holder.json", (began, began))
        found = read_status(out)
        assert found.videos_per_s == pytest.approx(2 / 100, rel=0.1)
        assert found.seconds_left == pytest.approx(50, rel=0.1)


def test_damaged_files_hide_nothing_else(out: Path) -> None:
    (out / "_state" / "plan.json").write_text("[")
    (out / "_state" / "train-000000.json").write_text("{}")
    with holding(out, shared=False) as run:
        (run_folder(out, run) / "holder.json").write_text("7")
        folder = run_folder(out, run) / "work" / "train-000001" / "0badcafe"
        folder.mkdir(parents=True)
        (folder / "beat.json").write_text('{"shard": 7}')
        found = read_status(out)
    assert (found.shards, found.shards_done, found.in_hand, len(found.runs)) == (None, 1, (), 1)
    assert exposition(found)


def test_what_is_no_build(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="give the --out of a build"):
        read_status(tmp_path)


def test_nothing_known_is_a_page_too() -> None:
    empty = Status(False, (), 0, None, 0, None, 0, {}, None, None, ())
    assert "facemill_build_videos_done 0\n" in exposition(empty)
    assert "facemill_build_videos " not in exposition(empty)
