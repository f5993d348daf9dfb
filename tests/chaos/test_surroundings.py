"""Disks that are full, small or read-only, and clocks that jump."""

import functools
import os
import random
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import SEED, Corpus
from tests.integration.command import ended, facemill, start, wait_for
from tests.integration.forked import forked

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

CLOCK = """
import time
_real = time.time
time.time = lambda: _real() + (0, 3600, -3600, 60)[int(time.monotonic() / 7) % 4]
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room for nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting needs rights")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def test_a_disk_that_is_full_at_any_size(corpus: Corpus, disk: Path, tmp_path: Path) -> None:
    out = disk / "out"
    for size in (16, 100, 200, 400, 600, 800):  # KiB
        remount(disk, f"size={size}k")
        full = forked(*corpus.args(out), folder=tmp_path, limit_s=600)
        if full.code == 0:
            break
        assert full.code in (1, 2, 3), (size, full)
        assert "Traceback" not in full.err, (size, full.err)
        assert "No space left" in full.err + full.out, (size, full)
    remount(disk, "size=64m")
    corpus.finish(out)


def test_a_disk_that_becomes_read_only(corpus: Corpus, disk: Path) -> None:
    remount(disk, "size=64m")
    out = disk / "out"
    with start(*corpus.args(out)) as process:
        wait_for(out, 2, process)
        # Files are open for writing, so that the disk is busy: a bind mount is, at times, only with those opened since.
        subprocess.run(["mount", "--bind", disk, disk], check=True)
        while subprocess.run(["mount", "-o", "remount,bind,ro", disk], capture_output=True, check=False).returncode:
            assert process.poll() is None
        done = ended(process)
    subprocess.run(["umount", "--lazy", disk], check=True)
    assert done.code in (0, 2), done  # open files and folders are those below the bind mount
    assert "Traceback" not in done.err
    corpus.check_committed(out)
    corpus.finish(out)


def small_files(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_files_that_cannot_grow(corpus: Corpus, tmp_path: Path) -> None:
    """As on a disk with quotas, or whose writes fail."""
    chosen = random.Random(SEED)
    out = tmp_path / "out"
    for _ in range(4):
        limit = chosen.randint(1_000, 60_000)
        first = functools.partial(small_files, limit)
        failed = forked(*corpus.args(out), folder=tmp_path, limit_s=600, first=first)
        assert failed.code in (1, 2, 3), (limit, failed)
        assert "Traceback" not in failed.err, (limit, failed.err)
        corpus.check_committed(out)
    corpus.finish(out)


def test_clocks_that_jump(corpus: Corpus, tmp_path: Path) -> None:
    """In the command and its workers, every seven seconds; Dask starts no worker across a jump, which is told."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(CLOCK)
    environment = {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    limits = ("--wait-limit", 30, "--stall-limit", 30)  # Dask holds messages for as long as the clock is set back
    for _ in range(10):
        done = facemill(*corpus.args(tmp_path / "out", "--workers", 2, *limits), env=environment)
        if done.code == 0:
            break
        assert done.code == 4, done
        assert "run the same command again" in done.err
    corpus.finish(tmp_path / "out")
