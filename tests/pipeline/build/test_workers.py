"""Workers that join a cluster after the others were checked refuse to build; files show what a worker sees."""

import dataclasses
from pathlib import Path

import pytest

from facemill import ConfigError
from facemill.pipeline.build import job as module
from facemill.pipeline.build.claim import run_file
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.workers import _files, check_self
from facemill.pipeline.config.recipe import load_recipe
from tests.manifests.small_dataset import make_videos

RECIPE = load_recipe("default")


@pytest.fixture
def job(tmp_path: Path) -> BuildJob:
    run_file(tmp_path, "mine").parent.mkdir()
    run_file(tmp_path, "mine").touch()
    return BuildJob(tmp_path, RECIPE, device="cpu", run="mine", identity=WorkIdentity.here(RECIPE, "cpu"))


def test_a_worker_like_the_others_builds(job: BuildJob) -> None:
    check_self(job)


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        ({"versions": {**WorkIdentity.here(RECIPE, "cpu").versions, "numpy": "1.0"}}, r"numpy .* instead of 1\.0"),
        ({"device": "CPU arm64"}, "another device"),
        ({"weights": "0" * 64}, "another weights file"),
    ],
)
def test_a_late_worker_that_differs_builds_nothing(job: BuildJob, other: dict[str, object], fault: str) -> None:
    assert job.identity is not None
    differing = dataclasses.replace(job, run="another", identity=dataclasses.replace(job.identity, **other))
    run_file(job.out, "another").touch()
    with pytest.raises(ConfigError, match=f"A worker on .* has .*{fault}"):
        module._build_on_worker(differing, ShardSpec("train-000000", "train", ()), 0, 1)
    assert not (job.out / "train").exists()


def test_a_late_worker_that_does_not_see_the_output_builds_nothing(job: BuildJob) -> None:
    unseen = dataclasses.replace(job, out=job.out / "elsewhere", run="unseen")
    with pytest.raises(ConfigError, match=r"does not see .*elsewhere: mount it there"):
        module._build_on_worker(unseen, ShardSpec("train-000000", "train", ()), 0, 1)
    assert not unseen.out.exists()


def test_what_a_worker_must_see_is_a_file_of_each_root(tmp_path: Path) -> None:
    """The folder of an unmounted disk is there, and empty."""
    videos = [dataclasses.replace(video, root=str(tmp_path / "a")) for video in make_videos()]
    assert _files(videos) == [str(tmp_path / "a")]
    (tmp_path / "a" / videos[1].path).parent.mkdir(parents=True)
    (tmp_path / "a" / videos[1].path).touch()
    packed = dataclasses.replace(videos[0], root=str(tmp_path / "b"), path="1.tar.gz/0")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.tar.gz").touch()
    far = dataclasses.replace(videos[0], root="s3://far")
    assert _files([*videos, packed, far]) == [str(tmp_path / "a" / videos[1].path), str(tmp_path / "b" / "1.tar.gz")]
