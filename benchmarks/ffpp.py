"""`facemill build` as a user runs it, on files of FaceForensics++'s shape: start-up included, CPU of all processes.

Baselines, each a command with as many processes: the usual way (`benchmarks.usual_way`), and nothing but decoding the
same videos in full.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.ffpp_files import make_files
from benchmarks.row import Row
from facemill.manifests import read_videos, write_videos

__all__ = ["FACEMILL", "GROUPS", "Cost", "measure", "run"]

GROUPS = 12
FACEMILL = Path(sys.executable).with_name("facemill")
PR_SET_CHILD_SUBREAPER = 36


class Cost(NamedTuple):
    """Of a command and all processes that it started, also those that it did not wait for: seconds."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.0f} s, CPU {self.cpu:.0f} s"


def measure(scratch: Path, *, cores: int) -> list[Row]:
    """Measure on 12 groups of an original and four fakes, and on one group per core for the cost of a further one."""
    root, table = make_files(scratch / "ffpp", GROUPS), scratch / "ffpp.parquet"
    run([FACEMILL, "scan", "ffpp", root, "--quality", "c23", "--out", table, "--overwrite"])
    every = sorted(root.glob("*/*/c23/videos/*.mp4"))
    few = [file for file in every if int(file.stem[:3]) < cores]  # a group per core, of both shapes
    small = scratch / "ffpp-few.parquet"
    _select(table, small, cores)
    out = scratch / "ffpp-out"

    def build(table: Path, name: str, *more: object) -> Cost:
        shutil.rmtree(out / name, ignore_errors=True)
        settings = ["--set", "sample.frames=32", "--workers", cores]
        return run([FACEMILL, "build", table, "--out", out / name, *settings, *more])

    def way(what: str, files: list[Path]) -> Cost:
        shutil.rmtree(out / what, ignore_errors=True)
        return run([sys.executable, "-m", "benchmarks.usual_way", what, out / what, cores, *files])

    ours, ours_few = build(table, "ours"), build(small, "few")
    usual, usual_few = way("faces", every), way("faces", few)
    decoding, decoding_few = way("decode", every), way("decode", few)
    again = build(table, "again", "--faces", out / "ours", "--set", "crop.scale=1.6")
    groups = GROUPS - cores
    steady = (usual.wall - usual_few.wall) / (ours.wall - ours_few.wall)
    cpu = (ours.cpu - ours_few.cpu, decoding.cpu - decoding_few.cpu)
    more = f"{cpu[0] / groups:.1f} s / {cpu[1] / groups:.1f} s a group"
    return [
        Row("ffpp", "usual way / build, time", usual.wall / ours.wall, ">= 5", f"{usual} / {ours}"),
        Row("ffpp", "usual way / build, time of further groups", steady, ">= 8", ""),
        Row("ffpp", "build / decoding alone, CPU", ours.cpu / decoding.cpu, "<= 1.5", f"{ours} / {decoding}"),
        Row("ffpp", "build / decoding alone, CPU of further groups", cpu[0] / cpu[1], "", more),
        Row("ffpp", "build with --faces / decoding alone, CPU", again.cpu / decoding.cpu, "<= 1.15", f"{again}"),
    ]


def _select(table: Path, out: Path, groups: int) -> None:
    write_videos([video for video in read_videos(table) if int(Path(video.path).stem[:3]) < groups], out)


def run(command: list[object]) -> Cost:
    """Run a command to the end of its last process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # so that processes left alone become ours, and are counted
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    wall = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"{command[0]} {command[1]} failed:\n{done.stderr}")
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
