"""`facemill score` on the command line."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from facemill import ConfigError
from facemill.pipeline.commands.cli import app
from facemill.pipeline.commands.shared import Exit
from tests.pipeline.conftest import Actor, MarkDetector, film
from tests.pipeline.score.conftest import Shoot, run, shoot

__all__ = ["run", "shoot"]  # fixtures


def call(*args: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, args), "--device", "cpu", "--every", "4"])


def test_a_line_a_video_and_a_line_a_bad_file(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    path, out = shoot("a.mp4", film([Actor(20, 100, 90), Actor(200, 150, 30)], 12)), tmp_path / "out"
    done = call(run, path, "--out", out)
    assert (done.exit_code, done.stderr) == (0, "Note: The threshold is chosen on the run's validation videos.\n")
    table = pq.read_table(out / "scores.parquet")
    score = json.loads((out / "scores.json").read_text())["files"][0]["score"]
    line, last = done.stdout.splitlines()
    assert re.match(rf"{path}: {score:.3f} \(person 0\), (above|below) the threshold \d\.\d{{3}}; ", line)
    assert line.endswith("; not scored: 3 faces")
    assert last == f"scores and score.html -> {out}"
    assert table["frame_index"].to_pylist() == [0, 4, 8]

    bad, folder = shoot("bad\n.mp4", b"no video"), tmp_path / "none"
    folder.mkdir()
    done = call(run, path, bad, folder, "--out", out, "--overwrite", "--json")
    assert done.exit_code == Exit.TOO_MANY_FAILURES
    assert [result["file"] for result in json.loads(done.stdout)["files"]] == [str(path), str(bad), str(folder)]
    _, first, second = done.stderr.splitlines()
    assert first.startswith(str(bad.parent / "bad\\n.mp4: not scored. FFmpeg cannot read"))
    assert second == f"{folder}: not scored. There is no video and no image in this folder."


def test_only_its_own_output_is_replaced(
    run: Path, shoot: Shoot, toy: Path, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    path, out = shoot("a.mp4", film([Actor(20, 100, 90)], 5)), tmp_path / "out"
    assert call(run, path, "--out", out).exit_code == 0
    again = call(run, path, "--out", out)
    assert isinstance(again.exception, ConfigError)
    assert "--overwrite" in str(again.exception)
    assert call(run, path, "--out", out, "--overwrite").exit_code == 0
    words = ["evaluate", run, toy, "--out", out, "--overwrite", "--device", "cpu", "--workers", 0]
    other = CliRunner().invoke(app, [*map(str, words)])
    assert "did not write" in str(other.exception)
    foreign = shoot("foreign/score.html", b"a page of somebody's").parent
    refused = call(run, path, "--out", foreign, "--overwrite")
    assert "did not write" in str(refused.exception)


@pytest.mark.long
def test_files_may_be_read_by_other_processes(run: Path, media: Path, tmp_path: Path) -> None:
    path = media / "images/astronaut.png"
    for name, more in (("here", ()), ("elsewhere", ("--workers", 1))):
        assert call(run, path, "--out", tmp_path / name, *more).exit_code == 0
    one, other = (pq.read_table(tmp_path / name / "scores.parquet") for name in ("here", "elsewhere"))
    assert one.equals(other)
