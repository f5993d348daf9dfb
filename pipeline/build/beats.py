"""What each worker has in hand: a file that says so, which anyone who sees the dataset's folder can read.

A sign of life is a step, such as another window of frames, and not that a process runs: one that waits for a disk, or
is lost in a decoder, runs too.
"""

import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from facemill.manifests.storage import read_json
from facemill.pipeline.build.plan import ShardSpec
from facemill.pipeline.build.run_folder import BEAT_S, WORK_FOLDER, run_folder
from facemill.pipeline.build.state import GroupDone

__all__ = ["FILE", "Beat", "progress_of", "read_beats"]

FILE = "beat.json"


class Beat:
    """Writes what this worker does to a file, now and every `BEAT_S` seconds; a context manager.

    Args:
        folder: of the attempt (`facemill.pipeline.build.run_folder.attempt`).
    """

    def __init__(self, folder: Path, spec: ShardSpec) -> None:
        self._folder, self._groups = folder, [group.group_id for group in spec.groups]
        self._done = 0
        self._start = self._since = time.monotonic()
        self._counts = {"step": 0, "videos": 0, "samples": 0, "failures": 0}
        self._stage = "start"
        self._ended = threading.Event()

    def __enter__(self) -> "Beat":
        self.write()
        threading.Thread(target=self._run, name="signs of life", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def stage(self, name: str) -> None:
        """A step: a stage begins. Called from any thread."""
        self._counts["step"] += 1
        self._stage, self._since = name, time.monotonic()

    def group(self, done: GroupDone) -> None:
        self._done += 1
        for name in ("videos", "samples", "failures"):
            self._counts[name] += getattr(done, name)

    def write(self) -> None:
        """Write the file; in vain once the shard was given to another worker."""
        now = time.monotonic()
        told = {"host": platform.node(), "pid": os.getpid(), "stage": self._stage, **self._counts}
        told |= {"groups": len(self._groups), "groups_done": self._done}
        told |= {"group": self._groups[min(self._done, len(self._groups) - 1)] if self._groups else ""}
        told |= {"seconds": now - self._start, "still_s": now - self._since}
        temporary = self._folder / "beat.tmp"
        with suppress(OSError):
            temporary.write_text(json.dumps(told))
            temporary.replace(self._folder / FILE)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.write()


def read_beats(run: Path, shard_id: str = "*") -> dict[Path, dict[str, Any]]:
    """What the workers of a run say, by the folder of the attempt, such as `train-000017/5ad1be17`."""
    found = {}
    for path in (run / WORK_FOLDER).glob(f"{shard_id}/[!.]*/{FILE}"):
        with suppress(OSError, ValueError):  # replaced just now
            found[path.parent] = read_json(path)
    return found


def progress_of(out: Path, run: str, shard_id: str) -> Any:
    """A value that changes whenever a shard makes progress; empty if no worker of this folder has begun it."""
    return [(folder.name, told.get("step")) for folder, told in read_beats(run_folder(out, run), shard_id).items()]
