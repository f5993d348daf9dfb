"""Runs that end in any way, or not at all: whose folder it is then, and what they can still do to it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from contextvars import Context
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from facemill import ClusterError, ConfigError
from facemill.manifests.storage import write_atomically
from facemill.pipeline.build import claim as claim_module
from facemill.pipeline.build import run_folder as module
from facemill.pipeline.build.claim import claim
from facemill.pipeline.build.run_folder import Holder, attempt, check_running, end_work, holding, run_folder
from tests.pipeline.build.test_claim import HOLD

DAY_S = 86_400


def left_by(out: Path, holder: Holder, *, age_s: float = 0) -> Path:
    """The folder of a run that did not end, with its last sign so many seconds ago."""
    folder = run_folder(out, "left")
    (folder / "work").mkdir(parents=True)
    (folder / "holder.json").write_text(json.dumps(asdict(holder)))
    beat = folder / "beat"
    beat.touch()
    os.utime(beat, (time.time() - age_s,) * 2)
    return folder


def elsewhere() -> Holder:
    return replace(Holder.here(shared=False), host="node7", kernel="another", pid=77)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network disk whose locks are unknown to other machines."""
    monkeypatch.setattr(claim_module, "_lock", lambda *given, **options: None)


@pytest.mark.parametrize("age_s", [0, DAY_S, -DAY_S])
def test_a_run_of_another_machine_is_waited_for_whatever_the_clocks_say(
    age_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's lock is ours: some network disks give one to each machine."""
    folder = left_by(tmp_path, elsewhere(), age_s=age_s)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    told: list[str] = []

    def live(line: str) -> None:
        told.append(line)
        threading.Timer(0.2, os.utime, [folder / "beat"]).start()

    with pytest.raises(ConfigError, match=r"at work in .*, process 77 on node7: wait"), claim(tmp_path, {}, warn=live):
        pass
    assert "was last used by process 77 on node7, which did not say that it ended: waiting 90 s" in told[0]
    monkeypatch.setattr(module, "LEASE_S", 0.3)
    with claim(tmp_path, {}, warn=told.append):
        assert not folder.exists()
    assert len(told) == 2


def test_a_damaged_holder_counts_as_one_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0.1)
    told: list[str] = []
    folder = left_by(tmp_path, elsewhere())
    (folder / "holder.json").write_text("[1")
    (folder / "beat").unlink()
    os.mkfifo(folder / "beat")  # opening it would block
    with claim(tmp_path, {}, warn=told.append):
        pass
    assert "on another host" in told[0]


def test_a_run_of_this_machine_is_gone_as_soon_as_its_lock_is_free(tmp_path: Path) -> None:
    folder = left_by(tmp_path, replace(Holder.here(shared=False), processes="a container's", pid=1))
    with claim(tmp_path, {}, warn=pytest.fail):
        assert not folder.exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_process_tells_and_not_its_number_alone(tmp_path: Path) -> None:
    here = Holder.here(shared=False)
    left_by(tmp_path, here)
    with pytest.raises(ConfigError, match=f"process {os.getpid()} on"), claim(tmp_path, {}):
        pass
    for gone in (replace(here, start="1"), replace(here, pid=2**22 + 1)):
        (run_folder(tmp_path, "left") / "holder.json").write_text(json.dumps(asdict(gone)))
        with claim(tmp_path, {}, warn=pytest.fail):
            assert not run_folder(tmp_path, "left").exists()
        left_by(tmp_path, here)


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        while module._start_of(process.pid) is not None:
            time.sleep(0.01)
        assert Path(f"/proc/{process.pid}").exists()


def test_parts_of_other_machines_are_no_hindrance_to_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_by(tmp_path, replace(elsewhere(), shared=True))
    with claim(tmp_path, {}, shared=True, warn=pytest.fail):
        assert folder.exists()
    monkeypatch.setattr(module, "LEASE_S", 0.1)
    with claim(tmp_path, {}):
        assert not folder.exists()


@pytest.mark.parametrize("beside", [False, True])
def test_what_killed_runs_left_half_made_is_removed_unless_a_part_may_be_making_it(
    tmp_path: Path, beside: bool
) -> None:
    """A second part has no lock of its own, and cannot tell a folder that was left from one that another part makes."""
    left = [tmp_path / "_state" / name for name in (".gone-left", ".new-left")]
    with ExitStack() as others:
        if beside:
            others.enter_context(claim(tmp_path, {}, shared=True))
        for folder in left:
            (folder / "work").mkdir(parents=True)
        with claim(tmp_path, {}, shared=beside):
            assert [folder.exists() for folder in left] == [False, beside]


def test_a_frozen_run_of_this_machine_keeps_its_folder_and_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, out]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        os.kill(first.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConfigError, match=f"at work in .*, process {first.pid} on"), claim(out, {"recipe": 1}):
                pass
        finally:
            first.kill()


@pytest.mark.usefixtures("no_locks")
def test_a_run_that_was_taken_over_while_frozen_changes_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next write fails, however late it is; so do those of its workers."""
    file = tmp_path / "dataset.json"
    monkeypatch.setattr(module, "LEASE_S", 0.1)

    def second() -> None:
        with claim(tmp_path, {}):
            write_atomically(file, b"the second's")

    def first() -> None:
        with claim(tmp_path, {}) as run:
            with attempt(tmp_path, run, "train-000000"):
                (run_folder(tmp_path, run) / "holder.json").write_text(json.dumps(asdict(elsewhere())))
                Context().run(second)
                with pytest.raises(FileNotFoundError):
                    write_atomically(file, b"the first worker's")
            with pytest.raises(ClusterError, match="this process stops, too"):
                check_running(tmp_path, run)
            write_atomically(file, b"the first's")

    with pytest.raises(ClusterError, match="another run took it over"):
        first()
    assert file.read_bytes() == b"the second's"


def test_signs_of_life_bring_no_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.02)
    with holding(tmp_path, shared=False) as run:
        beat = run_folder(tmp_path, run) / "beat"
        os.utime(beat, (0, 0))
        deadline = time.monotonic() + 30
        while beat.stat().st_mtime == 0:
            assert time.monotonic() < deadline, "no sign of life"
            time.sleep(0.01)
        [thread] = [thread for thread in threading.enumerate() if thread.name == "signs of life"]
        module.put_away(beat.parent)
        thread.join(10)
        assert not thread.is_alive()
    assert [path.name for path in (tmp_path / "_state").iterdir()] == []


def test_a_shard_that_was_given_to_another_worker_is_committed_by_that_one_only(tmp_path: Path) -> None:
    file = tmp_path / "train" / "train-000000.parquet"
    with holding(tmp_path, shared=False) as run:
        with attempt(tmp_path, run, "train-000000"), attempt(tmp_path, run, "train-000001"):
            with attempt(tmp_path, run, "train-000001"):
                write_atomically(file, b"new")
            with pytest.raises(FileNotFoundError):
                write_atomically(file, b"old")
        end_work(tmp_path, run)
        with pytest.raises(ClusterError, match="was stopped"), attempt(tmp_path, run, "train-000000"):
            pass
        assert not (run_folder(tmp_path, run) / "work").exists()
    assert file.read_bytes() == b"new"
    assert not [path for path in (tmp_path / "_state").rglob("*") if path.is_file()]
