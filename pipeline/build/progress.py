"""Progress of a build: a live line on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from facemill.pipeline.build.state import ShardResult

__all__ = ["BuildProgress"]

LINE_EVERY_S = 10.0
"""Seconds between two plain lines."""


class BuildProgress:
    """Shows videos, faces, faces per second, failures and time left. A context; call it with each shard's result."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.videos = self.faces = self.failures = 0
        self._start = self._last_line = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("videos  {task.fields[detail]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("build", total=None, detail="starting workers")

    def __enter__(self) -> "BuildProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, result: ShardResult, videos: int) -> None:
        """Take in a finished shard; `videos` is the number of videos in all."""
        self.videos += result.videos
        self.faces += result.rows
        self.failures += len(result.failures)
        self._bar.update(self._task, total=videos, completed=self.videos, detail=self._detail())
        now = time.monotonic()
        if not self.console.is_terminal and (now - self._last_line >= LINE_EVERY_S or self.videos == videos):
            self._last_line = now
            left = (now - self._start) * (videos - self.videos) / self.videos
            print(f"{self.videos}/{videos} videos  {self._detail()}  {left:.0f} s left", file=sys.stderr, flush=True)

    def _detail(self) -> str:
        rate = self.faces / max(time.monotonic() - self._start, 1e-3)
        return f"{self.faces} faces  {rate:.1f} faces/s  {self.failures} failures"
