"""Running the installed `facemill` command as a user does: in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil

from facemill.pipeline.build import BuildReport, build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo import make_corpus

__all__ = [
    "ALONE",
    "LOG",
    "SETTINGS",
    "Ended",
    "build_args",
    "build_here",
    "committed",
    "content",
    "facemill",
    "short_videos",
    "start",
    "wait_for",
]

FACEMILL = str(Path(sys.executable).with_name("facemill"))
SETTINGS = ("sample.frames=4", "crop.size=96", "shards.samples_per_shard=8")
"""A clip group a shard, so that a build has a middle."""
ALONE = ("--executor", "sequential")
"""Arguments of a build that works in the process of the command, which spares the start of two."""
LONGEST_S = 240
LOG = Path("_state", "build.log")


def short_videos(root: Path) -> Path:
    """Twelve short videos below a new folder: six persons, each with one fake."""
    return make_corpus(root, subjects=6, frames=12, qualities=("c23",), methods=("Deepfakes",), size=(320, 180))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """All that it said on stderr: a line, without any traceback."""
        (line,) = self.err.splitlines()
        return line


def facemill(*args: object, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end: as a user does if it starts workers or has an environment, else with imports done."""
    if env is None and (args[:1] != ("build",) or set(ALONE) <= set(args)):
        from tests.integration.forked import forked

        return forked(*args, folder=Path.cwd(), limit_s=LONGEST_S)
    with start(*args, env=env) as process:
        return ended(process)


@contextmanager
def start(*args: object, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command under way, in a session of its own, as one that a terminal started; killed on leaving."""
    process = subprocess.Popen(
        [FACEMILL, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=LONGEST_S)
    return Ended(process.returncode, out, err)


def build_args(manifest: Path, out: Path, *more: object, workers: int = 1) -> list[object]:
    """Arguments of `facemill build` with this suite's settings."""
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["build", manifest, "--out", out, "--workers", workers, "--device", "cpu", *sets, *more]


def build_here(manifest: Path, out: Path, *settings: str) -> BuildReport:
    """Build in this process, which has imported all that takes a worker seconds."""
    return build(manifest, load_recipe("default", [*SETTINGS, *settings]), out, executor="sequential", device="cpu")


def content(dataset: Path) -> dict[str, str]:
    """SHA-256 of every file of a dataset by path, but for the log and the shards' results: these tell times."""
    return {
        path.relative_to(dataset).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file() and path not in committed(dataset) and path != dataset / LOG
    }


def committed(dataset: Path) -> set[Path]:
    """Results of the shards that are committed."""
    return set((dataset / "_state").glob("*-[0-9]*.json"))


def wait_for(dataset: Path, shards: int, process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until some shards are committed; returns the processes that are then at work below `process`."""
    deadline = time.monotonic() + LONGEST_S
    while len(committed(dataset)) < shards:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return psutil.Process(process.pid).children(recursive=True)
