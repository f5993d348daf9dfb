"""Disks that stall: a process that was blocked by one says so, and ends."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from facemill.pipeline.build.patience import disks_watched


def test_a_disk_that_stalls_is_told_of_and_then_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls, told, ended = threading.Event(), threading.Event(), threading.Event()
    lines: list[str] = []
    stat = os.stat

    def blocked(path: Any, **options: Any) -> os.stat_result:
        if path == tmp_path / "nfs":
            stalls.wait()
        return stat(path, **options)

    def warn(line: str) -> None:
        lines.append(line)
        told.set()
        stalls.wait()  # as where the log is on the same disk

    def end(line: str) -> None:
        assert told.is_set()
        lines.append(line)
        ended.set()

    monkeypatch.setattr(os, "stat", blocked)
    with disks_watched([tmp_path, tmp_path / "nfs"], 1.0, warn, end):
        assert ended.wait(30)
    stalls.set()
    assert lines == [
        f"Waiting for the disk of {tmp_path / 'nfs'}, which does not answer: the command ends after 1 s.",
        f"The disk of {tmp_path / 'nfs'} has not answered for 1 s: check it, and run the same command again to resume.",
    ]


def test_disks_that_answer_are_no_news_be_there_a_file_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Semaphore(0)
    stat = os.stat

    def counted(path: Any, **options: Any) -> os.stat_result:
        if path == tmp_path / "missing":
            looked.release()
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", counted)
    with disks_watched([tmp_path / "missing", tmp_path], 0.3, pytest.fail, pytest.fail):
        for _ in range(5):
            assert looked.acquire(timeout=30)
