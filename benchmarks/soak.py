"""A build of 2,000 clip groups by two workers: memory, open files, threads and temporary space must not grow.

Each figure is its value at the end by that after a fifth of the time, both from a straight line through the samples.
"""

import os
import shutil
import subprocess
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from benchmarks.memory import FACEMILL, small_groups
from benchmarks.row import Row
from facemill.manifests import VideoEntry, write_videos

__all__ = ["measure"]

GROUPS, WORKERS = 2000, 2
EVERY_S = 1.0
SETTLED = 0.2  # share of the time after which workers have started, and caches are full
GROWTH = {"memory": "<= 1.05", "open files": "<= 1.02", "threads": "<= 1.02", "temporary space": "<= 1.05"}


def measure(scratch: Path) -> list[Row]:
    """Run `facemill build`, and look at its processes and its temporary folder every second."""
    scratch = scratch.absolute()
    table, out, temporary = scratch / "soak.parquet", scratch / "soak", scratch / "soak-tmp"
    groups = small_groups(scratch)
    turns = (groups[number % len(groups)].videos() for number in range(GROUPS))
    write_videos([_again(video, number, scratch) for number, group in enumerate(turns) for video in group], table)
    for folder in (out, temporary):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir()
    settings = ["--set", "sample.frames=4", "--set", "crop.size=128", "--workers", str(WORKERS), "--device", "cpu"]
    command = [str(part) for part in (FACEMILL, "build", table, "--out", out, *settings)]
    start = time.monotonic()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    build = psutil.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(temporary)})
    while build.poll() is None:
        for name, value in _sizes(build, temporary).items():
            found[name].append((time.monotonic() - start, value))
        time.sleep(EVERY_S)
    assert build.returncode == 0
    return [_row(name, np.array(samples), target) for name, target in GROWTH.items() for samples in [found[name]]]


def _sizes(build: psutil.Process, temporary: Path) -> dict[str, float]:
    """Sums over the driver and its children; private memory in MiB, and space in KiB.

    Shared pages are left out: what a process is charged for them changes whenever others that use torch begin or end.
    """
    sums = dict.fromkeys(GROWTH, 0.0)
    for process in [build, *build.children(recursive=True)]:
        with suppress(psutil.Error):
            memory, files, threads = process.memory_full_info().uss, process.num_fds(), process.num_threads()
            sums["memory"] += memory / 2**20
            sums["open files"] += files
            sums["threads"] += threads
    for path in temporary.rglob("*"):
        with suppress(OSError):
            sums["temporary space"] += path.lstat().st_size / 2**10
    return sums


def _row(name: str, samples: np.ndarray, target: str) -> Row:
    settled = samples[samples[:, 0] >= SETTLED * samples[-1, 0]][:-2]  # the last ones see workers end
    slope, base = np.polyfit(settled[:, 0], settled[:, 1], 1)
    first, last = (float(slope * settled[at, 0] + base) for at in (0, -1))
    hours = f"{slope * 3600:+.1f} an hour"
    return Row(
        "soak",
        f"{name}, at the end / settled",
        max(last, 1) / max(first, 1),
        target,
        f"{last:.0f} / {first:.0f}, {hours}",
    )


def _again(video: VideoEntry, number: int, scratch: Path) -> VideoEntry:
    """The file once more, as a video of its own."""
    root = scratch / "soak-videos" / f"{number:04d}"
    path = root / video.path
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(Path(video.root) / video.path, path)
    source = None if video.source_id is None else f"{video.source_id}-{number}"
    return replace(video, root=str(root), video_id=f"{video.video_id}-{number}", source_id=source)
