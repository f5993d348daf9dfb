"""`facemill build` in this process; on Dask's workers it is tested from the outside."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from facemill.manifests import write_videos
from facemill.pipeline.commands.cli import app
from tests.pipeline.build.test_shard import BIG, FRAMES, AddVideo
from tests.pipeline.conftest import film

pytestmark = pytest.mark.usefixtures("mark_detector")

SETTINGS = [
    part for key in ("crop.size=96", "sample.frames=3", "shards.samples_per_shard=3") for part in ("--set", key)
]


def run(folder: Path, *options: str) -> Result:
    given = ["build", str(folder / "videos.parquet"), "--out", str(folder / "out"), "--quiet", *SETTINGS, *options]
    return CliRunner().invoke(app, given)


@pytest.fixture
def folder(add_video: AddVideo, tmp_path: Path) -> Path:
    write_videos([add_video(f"real{n}", film([BIG], FRAMES, seed=n)) for n in range(2)], tmp_path / "videos.parquet")
    return tmp_path


def test_a_job_array_and_its_end(folder: Path) -> None:
    part = run(folder, "--executor", "sequential", "--shards", "2/2")
    assert part.exit_code == 0, part.output
    assert "3 samples of 1 videos in 1 shards" in part.output
    assert "Part 2/2 is built. When all parts are built, run the command with --finish" in part.output
    assert not (folder / "out" / "dataset.json").exists()
    run(folder, "--executor", "sequential", "--shards", "1/2")
    end = run(folder, "--finish")
    assert end.exit_code == 0, end.output
    assert "6 samples of 2 videos in 2 shards" in end.output
    assert (folder / "out" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shards", "3-16"], "--shards 3-16 is not a part of a build: for 16 parts, pass 1/16 to 16/16"),
        (["--shards", "1/2", "--finish"], "pass one of the two"),
        (["--finish"], "2 of 2 shards are not built"),
        (["--executor", "slurm"], "no executor 'slurm': use one of dask, sequential"),
    ],
)
def test_what_cannot_be(folder: Path, options: list[str], message: str) -> None:
    ended = run(folder, *options)
    assert ended.exit_code != 0
    assert message in str(ended.exception)
    assert not (folder / "out" / "train").exists()
