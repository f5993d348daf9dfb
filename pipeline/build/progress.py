"""Progress of a build: a live line on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections import Counter, defaultdict
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from facemill.manifests.printable import printable
from facemill.pipeline.build.job import Watcher
from facemill.pipeline.build.state import GroupDone, ShardResult

__all__ = ["BuildProgress"]

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0  # between two plain lines, in the log and without a terminal


class BuildProgress(Watcher):
    """Shows videos, faces, faces per second, failures and time left, for this run alone; a context manager.

    Args:
        quiet: show nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.total = self.earlier = self._told = 0
        self._open: dict[str, Counter[str]] = defaultdict(Counter)  # of shards under way
        self._closed: Counter[str] = Counter()  # of shards that this run has committed
        self._quiet = quiet
        self._start = self._last_line = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("videos  {task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("build", total=None, detail="starting workers", left="")

    def __enter__(self) -> "BuildProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._bar.disable:  # rich 13 would end it with an empty line
            self._bar.stop()

    def begin(self, videos: int) -> None:
        self.total = videos

    def note(self, line: str) -> None:
        logger.info(line)
        if not self._quiet:
            self.console.print(Text(printable(line)), soft_wrap=True)

    def warn(self, line: str) -> None:
        self.console.print(Text(printable(line)), soft_wrap=True)  # first: the disk of the log may be what is warned of
        logger.info(line)

    def group(self, done: GroupDone) -> None:
        self._open[done.shard_id].update(videos=done.videos, faces=done.samples, failures=done.failures)
        self._show()

    def shard(self, result: ShardResult, *, built: bool) -> None:
        under_way = self._open.pop(result.shard_id, Counter())
        if built:
            self._closed.update(under_way)
        self.earlier += result.videos - (under_way["videos"] if built else 0)
        self._show()

    def counts(self) -> Counter[str]:
        """Videos, faces and failures of this run so far."""
        return sum(self._open.values(), self._closed.copy())

    def seconds_left(self) -> float | None:
        """Estimated from this run's speed so far; None before the first group is finished."""
        done = self.counts()["videos"]
        left = self.total - self.earlier - done
        return (time.monotonic() - self._start) * left / done if done else 0.0 if not left else None

    def _show(self) -> None:
        counts, seconds = self.counts(), self.seconds_left()
        done = min(self.total, self.earlier + counts["videos"])
        rate = counts["faces"] / max(time.monotonic() - self._start, 1e-3)
        detail = f"{counts['faces']} faces  {rate:.1f} faces/s  {counts['failures']} failures"
        left = "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
        self._bar.update(self._task, total=self.total, completed=done, detail=detail, left=left)
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_S or done == self.total > self._told:
            self._last_line, self._told = now, done
            line = f"{done}/{self.total} videos  {detail}  {left}".rstrip()
            logger.info(line)
            if not (self._quiet or self.console.is_terminal):
                print(line, file=sys.stderr, flush=True)
