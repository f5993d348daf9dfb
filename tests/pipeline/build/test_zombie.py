"""Workers that freeze with a shard, and wake up after it was built by another or the whole build is finished."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from facemill import ClusterError
from facemill.manifests import ClipGroup
from facemill.manifests.checks.verify import verify
from facemill.pipeline.build import beats
from facemill.pipeline.build import job as job_module
from facemill.pipeline.build import shard as module
from facemill.pipeline.build.beats import Beat, progress_of, read_beats
from facemill.pipeline.build.job import build
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.run_folder import attempt, holding, run_folder
from facemill.pipeline.build.state import GroupDone
from facemill.pipeline.config.recipe import load_recipe
from tests.integration.command import content
from tests.pipeline.build.test_shard import AddVideo, pair

pytestmark = pytest.mark.usefixtures("mark_detector")

RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=3"])
PLACES = ("between two groups", "before the commit", "within the commit", "before the result")


class Zombie(threading.Thread):
    """A worker that freezes at a place of `build_shard`, until `wake` is set; its disk fails in the meantime."""

    def __init__(self, place: str, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(daemon=True)
        self.work, self.frozen, self.wake = work, threading.Event(), threading.Event()
        self.error: BaseException | None = None
        targets = {
            "between two groups": (module, "_check_in_hand"),
            "before the commit": (module, "_move_away"),
            "within the commit": (module, "listing"),
            "before the result": (module, "save_result"),
        }
        where, name = targets[place]
        before = getattr(where, name)

        def freeze(*given: object, **options: object) -> object:
            if threading.current_thread() is self:
                self.frozen.set()
                self.wake.wait()
            return before(*given, **options)

        monkeypatch.setattr(where, name, freeze)

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("place", PLACES)
def test_a_zombie_does_no_harm(
    place: str, add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It freezes in the build, which gives the shard to another worker and ends; then it goes on."""
    group, out = pair(add_video), tmp_path / "out"
    before = job_module._build_on_worker
    zombies: list[Zombie] = []

    def build_twice(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> object:
        zombie = Zombie(place, lambda: module.build_shard(spec, job), monkeypatch)
        zombies.append(zombie)
        zombie.start()
        assert zombie.frozen.wait(60), zombie.error
        return before(job, spec, number, threads)

    monkeypatch.setattr(job_module, "_build_on_worker", build_twice)
    assert build([*group.videos()], RECIPE, out, executor="sequential").samples == 6
    built = content(out)
    [zombie] = zombies
    zombie.wake.set()
    zombie.join(60)
    assert not zombie.is_alive()
    assert zombie.error is not None  # it is told, or its rename fails
    assert content(out) == built
    assert verify(out).ok
    assert not list((out / "_state").glob("run-*"))


def test_a_worker_that_begins_when_all_is_committed_is_too_late(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen before its first step: nothing of what is merged then may change any more."""
    given: list[tuple[ShardSpec, BuildJob]] = []
    before, merge = job_module._build_on_worker, job_module.merge_at

    def build_on_worker(job: BuildJob, spec: ShardSpec, *rest: int) -> object:
        given.append((spec, job))
        return before(job, spec, *rest)

    def merge_at(*arguments: object) -> object:
        with pytest.raises(ClusterError, match="this process stops, too"):
            module.build_shard(*given[0])
        return merge(*arguments)

    monkeypatch.setattr(job_module, "_build_on_worker", build_on_worker)
    monkeypatch.setattr(job_module, "merge_at", merge_at)
    assert build([*pair(add_video).videos()], RECIPE, tmp_path / "out", executor="sequential").samples == 6
    assert len(given) == 1


def test_what_a_worker_has_in_hand_is_written_and_its_steps_are_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add_video: AddVideo
) -> None:
    monkeypatch.setattr(beats, "BEAT_S", 3600.0)
    spec = ShardSpec("train-000000", "train", (pair(add_video), ClipGroup(None, tuple(pair(add_video).fakes))))
    with holding(tmp_path, shared=False) as run, attempt(tmp_path, run, spec.shard_id) as folder:
        assert progress_of(tmp_path, run, spec.shard_id) == []
        with Beat(folder, spec) as beat:
            seen = [progress_of(tmp_path, run, spec.shard_id)]
            beat.write()  # it lives, but makes no step
            assert progress_of(tmp_path, run, spec.shard_id) == seen[0]
            beat.stage("decode")
            beat.group(GroupDone(spec.shard_id, 2, 6, 1))
            beat.write()
            assert progress_of(tmp_path, run, spec.shard_id) not in seen
            [told] = read_beats(run_folder(tmp_path, run)).values()
        assert (told["stage"], told["groups_done"], told["groups"]) == ("decode", 1, 2)
        assert (told["group"], told["videos"], told["samples"]) == (spec.groups[1].group_id, 2, 6)
        with attempt(tmp_path, run, spec.shard_id):
            beat.write()  # in vain, and without an error
            assert progress_of(tmp_path, run, spec.shard_id) == []
