import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facemill import ClusterError, ConfigError, DatasetError
from facemill.pipeline.build import claim as module
from facemill.pipeline.build import run_folder
from facemill.pipeline.build.claim import claim
from facemill.pipeline.build.run_folder import check_running

HOLD = "import sys; from pathlib import Path; from facemill.pipeline.build.claim import claim\n"
HOLD += "with claim(Path(sys.argv[1]), {'recipe': 1}): print('held', flush=True); sys.stdin.read()"


def commit_something(out: Path) -> None:
    (out / "_state" / "train-000000.json").write_text("{}")


def test_a_second_run_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="Another build is at work in"), claim(out, {"recipe": 1}):
            pass
        first.kill()
        first.wait()
        with claim(out, {"recipe": 1}):
            pass


def test_parts_of_one_build_work_at_one_time_and_nobody_else(tmp_path: Path) -> None:
    with claim(tmp_path, {"recipe": 1}, shared=True) as first:
        with claim(tmp_path, {"recipe": 1}, shared=True) as second:
            check_running(tmp_path, first)
            check_running(tmp_path, second)
            with pytest.raises(ConfigError, match="another recipe"), claim(tmp_path, {"recipe": 2}, shared=True):
                pass
            with pytest.raises(ConfigError, match="Another build is at work in"), claim(tmp_path, {"recipe": 1}):
                pass
        check_running(tmp_path, first)
        with pytest.raises(ClusterError, match="was stopped"):
            check_running(tmp_path, second)


def test_a_part_is_refused_while_a_whole_build_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_S", 0.3)
    monkeypatch.setattr(run_folder, "LEASE_S", 0.1)
    with (
        claim(tmp_path, {}) as run,
        pytest.raises(ConfigError, match="Another build is at work"),
        claim(tmp_path, {}, shared=True),
    ):
        pass
    (tmp_path / "_state" / f"run-{run}" / "work").mkdir(parents=True)  # as a run that was killed leaves it
    with claim(tmp_path, {}), pytest.raises(ClusterError, match="was stopped"):
        check_running(tmp_path, run)


def test_a_run_that_made_nothing_claims_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claim(tmp_path, {"recipe": 1}):
        raise RuntimeError("There are no weights.")
    with claim(tmp_path, {"recipe": 2}):
        commit_something(tmp_path)
    with pytest.raises(ConfigError, match="holds a build with another recipe: choose"), claim(tmp_path, {"recipe": 1}):
        pass


def test_workers_see_when_their_run_is_over(tmp_path: Path) -> None:
    with claim(tmp_path, {}) as run:
        check_running(tmp_path, run)
        with pytest.raises(ClusterError, match="was stopped"):
            check_running(tmp_path, "another")
    with pytest.raises(ClusterError, match="was stopped"):
        check_running(tmp_path, run)
    check_running(tmp_path, None)  # somebody builds a shard without any run


@pytest.mark.parametrize("content", ["[1", "[]", "7", '"text"'])
def test_a_damaged_claim_is_one_sentence(tmp_path: Path, content: str) -> None:
    with claim(tmp_path, {}):
        commit_something(tmp_path)
    (tmp_path / "_state" / "build.json").write_text(content)
    with pytest.raises(ConfigError, match=r"build\.json is damaged"), claim(tmp_path, {}):
        pass


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    long = tmp_path / ("x" * 300)
    for out in (file, file / "below", long):
        with pytest.raises(ConfigError, match="cannot be written to"), claim(out, {}):
            pass
    assert file.read_text() == "mine"
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(ConfigError, match="cannot be written to"), claim(locked / "out", {}):
            pass


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetError, match=r"^The disk of .*/out failed \(No space left on device\): .* same command"),
        claim(tmp_path / "out", {}),
    ):
        Path("/dev/full").write_bytes(b"a shard")  # whose error names no file


def test_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no build"), claim(tmp_path, {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_claim_is_readable(tmp_path: Path) -> None:
    with claim(tmp_path, {"recipe": {"size": 1}}):
        assert json.loads((tmp_path / "_state" / "build.json").read_text()) == {"recipe": {"size": 1}}


def test_a_pipe_in_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "_state").mkdir()
    os.mkfifo(tmp_path / "_state" / "lock")
    with pytest.raises(ConfigError, match="lock is not a regular file: delete it"), claim(tmp_path, {"recipe": 1}):
        pass
