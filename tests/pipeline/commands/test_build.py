"""`facemill build` in this process; on Dask's workers it is tested from the outside."""

import subprocess
import sys
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


STALLED = """
import sys, threading
import facemill.manifests as manifests
from facemill.pipeline.build import patience
from facemill.pipeline.commands import cli

def stall(*ignored, **options):
    threading.Event().wait()

stat = patience.os.stat
patience.os = type("os", (), {"stat": lambda path: stall() if "videos" in str(path) else stat(path)})
manifests.read_videos = stall  # the command itself is blocked, too
cli.main()
"""


def test_a_command_that_a_disk_blocks_says_so_and_ends_with_4(tmp_path: Path) -> None:
    """The disk stalls: nothing that reads it returns, and no signal wakes it."""
    manifest, out = tmp_path / "videos.parquet", tmp_path / "out"
    (out / "_state").mkdir(parents=True)
    (out / "_state" / "build.json").write_text("{}")
    command = [sys.executable, "-c", STALLED, "build", str(manifest), "--out", str(out), "--wait-limit", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 2
    for text in (done.stderr, (out / "_state" / "build.log").read_text()):
        assert "Waiting for the disk of" in text
        assert f"The disk of {manifest} has not answered for 2 s: check it, and run the same command again" in text
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shards", "3-16"], "--shards 3-16 is not a part of a build: for 16 parts, pass 1/16 to 16/16"),
        (["--shards", "1/2", "--finish"], "pass one of the two"),
        (["--finish"], "2 of 2 shards are not built"),
        (["--tls-ca", "ca.pem"], "--tls-ca, --tls-cert and --tls-key belong together: pass all three"),
        (["--executor", "slurm"], "no executor 'slurm': use one of dask, sequential"),
    ],
)
def test_what_cannot_be(folder: Path, options: list[str], message: str) -> None:
    ended = run(folder, *options)
    assert ended.exit_code != 0
    assert message in str(ended.exception)
    assert not (folder / "out" / "train").exists()
