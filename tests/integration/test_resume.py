"""A build that is killed, interrupted or damaged at any point comes to the same bytes in the end."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.command import (
    ALONE,
    LOG,
    Ended,
    build_args,
    committed,
    content,
    ended,
    facemill,
    start,
    wait_for,
)
from tests.integration.conftest import Built
from tests.pipeline.build.executors.test_lost import cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Process = subprocess.Popen[str]

INTERRUPTED = "Interrupted: finished shards are kept, run the same command again to resume."
SHARDS = 6


INTERRUPTS = {
    "Ctrl-C": lambda process: os.killpg(process.pid, signal.SIGINT),  # in a terminal
    "SIGTERM": subprocess.Popen.terminate,
}


@pytest.mark.heavy
@pytest.mark.parametrize("ways", [("SIGKILL",), pytest.param((*INTERRUPTS, "SIGKILL"), marks=pytest.mark.long)])
def test_stopped_in_every_way_in_turn_it_ends_in_the_same_bytes(
    ways: tuple[str, ...], built: Built, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    args = build_args(manifest, out)
    before: dict[Path, int] = {}
    for way in ways:
        stopped, took = stop(args, out, len(before) + 1, INTERRUPTS.get(way, subprocess.Popen.kill))
        if way == "SIGKILL":
            assert stopped.code == -signal.SIGKILL
        else:
            assert (stopped.code, stopped.err.splitlines()[-1]) == (4, INTERRUPTED)
            assert "Traceback" not in stopped.err
            assert took < 20
        kept = {path: path.stat().st_mtime_ns for path in committed(out)}
        assert before.items() <= kept.items()  # what is committed is not built again
        before = kept
    assert len(ways) <= len(before) < SHARDS
    assert not (out / "dataset.json").exists()

    finished = facemill(*args, *ALONE)
    assert finished.code == 0, finished.err
    assert finished.out == built.ended.out.replace(str(built.folder), str(out))
    assert content(out) == content(built.folder)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


@pytest.mark.heavy
def test_a_killed_worker_is_replaced_and_nothing_is_lost(built: Built, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(*build_args(manifest, out, workers=2)) as process:
        workers = [child for child in wait_for(out, 1, process) if is_worker(child)]
        assert len(workers) == 2
        assert len(committed(out)) < SHARDS
        workers[0].kill()
        finished = ended(process)
    assert finished.code == 0, finished.err
    assert content(out) == content(built.folder)


@pytest.mark.long
def test_the_shard_of_a_stopped_worker_is_built_by_another(built: Built, manifest: Path, tmp_path: Path) -> None:
    """Short forms: the executor's with SIGSTOP, and a build's whose worker wakes up at any point (`test_zombie`)."""
    out = tmp_path / "out"
    with start(*build_args(manifest, out, "--stall-limit", 20, workers=2)) as process:
        stopped, _ = [child for child in wait_for(out, 1, process) if is_worker(child)]
        stopped.suspend()
        finished = ended(process)
    assert finished.code == 0, finished.err
    assert content(out) == content(built.folder)
    for told in (finished.err, (out / LOG).read_text()):
        assert re.search(r"The worker at \S+ has made no progress for 20 s: its work \(\w+-\d+", told)


@pytest.mark.long
def test_a_scheduler_that_dies_ends_the_command_and_the_same_command_resumes(
    built: Built, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        cluster(tmp_path) as (address, scheduler),
        start(*build_args(manifest, out, "--scheduler", address)) as process,
    ):
        wait_for(out, 1, process)
        scheduler.kill()
        lost = ended(process)
    assert lost.code == 4, lost.err
    assert lost.err.splitlines()[-1].startswith("Error: The scheduler ")
    assert lost.err.splitlines()[-1].endswith("run the same command again to resume.")
    assert "Traceback" not in lost.err
    kept = {path: path.stat().st_mtime_ns for path in committed(out)}
    finished = facemill(*build_args(manifest, out, *ALONE))
    assert finished.code == 0, finished.err
    assert content(out) == content(built.folder)
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())


@pytest.mark.heavy
def test_damaged_and_missing_shards_are_built_again(built: Built, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built.folder, out)
    flipped, deleted = (out / "test" / f"test-00000{number}.parquet" for number in (0, 1))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    deleted.unlink()
    (out / "_state" / "tables" / "train-000000.samples.parquet").unlink()
    (out / "samples.parquet").unlink()
    (out / "train" / ".train-000000.parquet.0badcafe.tmp").write_bytes(b"left by a killed process")
    untouched = {path: path.stat().st_mtime_ns for path in committed(out)}
    finished = facemill(*build_args(manifest, out, *ALONE))
    assert finished.code == 0, finished.err
    assert content(out) == content(built.folder)
    rebuilt = {path.stem for path, before in untouched.items() if path.stat().st_mtime_ns != before}
    assert rebuilt == {flipped.stem, deleted.stem, "train-000000"}


def stop(args: list[object], out: Path, shards: int, how: Callable[[Process], None]) -> tuple[Ended, float]:
    """Start a build, stop it once some shards are committed, and see that none of its processes stays."""
    with start(*args) as process:
        children = wait_for(out, shards, process)
        assert len([child for child in children if is_worker(child)]) == 1
        assert len(committed(out)) < SHARDS
        before = time.monotonic()
        how(process)
        stopped = ended(process)
        took = time.monotonic() - before
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    return stopped, took


def is_worker(process: psutil.Process) -> bool:
    """Whether it is forked from the one that multiprocessing forks from."""
    parent = process.parent()
    return parent is not None and any("multiprocessing.forkserver" in argument for argument in parent.cmdline())
