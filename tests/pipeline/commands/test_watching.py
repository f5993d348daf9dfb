"""`facemill status`, and the metrics of a build."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facemill import ConfigError
from facemill.manifests import ClipGroup
from facemill.pipeline.build.beats import Beat
from facemill.pipeline.build.plan import ShardSpec
from facemill.pipeline.build.run_folder import attempt, holding
from facemill.pipeline.commands.cli import app
from facemill.pipeline.commands.watching import metrics_served


def status(out: Path, *options: str) -> str:
    ended = CliRunner().invoke(app, ["status", str(out), *options], env={"COLUMNS": "200"})
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_what_runs_where_is_shown_and_printed_safely(tmp_path: Path) -> None:
    (tmp_path / "_state").mkdir()
    (tmp_path / "_state" / "plan.json").write_text('{"shards": 4, "videos": 40}')
    assert status(tmp_path).splitlines() == [
        "No run is under way: the same `facemill build` resumes.",
        "0/40 videos, 0/4 shards, 0 samples",
    ]
    spec = ShardSpec("train-000002", "train", (ClipGroup(None, ()),) * 0)
    with (
        holding(tmp_path, shared=False) as run,
        attempt(tmp_path, run, spec.shard_id) as folder,
        Beat(folder, spec) as beat,
    ):
        beat.stage("\x1b[31mdecode")
        beat.write()
        shown, told = status(tmp_path), json.loads(status(tmp_path, "--json"))
    assert "Run by process" in shown
    assert "train-000002" in shown
    assert "\\x1b[31mdecode" in shown
    assert told["in_hand"][0]["shard"] == "train-000002"


def test_metrics_are_served_on_this_machine_alone_and_only_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with metrics_served(tmp_path, "127.0.0.1", None):
        assert capsys.readouterr().err == ""
    with metrics_served(tmp_path, "127.0.0.1", 0):
        address = capsys.readouterr().err.strip().removeprefix("Metrics: ")
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == b""  # nothing has begun
        (tmp_path / "_state").mkdir()
        with urllib.request.urlopen(address) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"facemill_build_videos_done 0\n" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address.replace("metrics", "_state"))
        port = int(address.split(":")[2].split("/")[0])
        with pytest.raises(ConfigError, match="choose another one"), metrics_served(tmp_path, "127.0.0.1", port):
            pass
