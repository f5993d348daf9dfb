"""Time limits of a build: how long it waits for what may never answer, and what it says meanwhile."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["LOOK_EVERY_S", "TOLD_AFTER", "Limits", "RunningClock", "disks_watched", "within"]

Result = TypeVar("Result")

LOOK_EVERY_S = 10.0
TOLD_AFTER = 0.1
"""Share of a time limit after which a line says what is waited for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits, in seconds.

    Attributes:
        wait_s: longest wait for a scheduler that does not answer, for a first worker, for a disk, or for any worker to
            have something to do.
        stall_s: longest time without progress in any shard of a worker, before its work is given to another one. A
            step is a window of frames: it takes seconds to minutes.
    """

    wait_s: float = 300.0
    stall_s: float = 1800.0


class RunningClock:
    """Seconds in which this process ran: the time for which it was stopped, or its machine slept, does not count.

    Args:
        period_s: time between two calls of `now`, of which at most the double counts.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s, self._last, self._now = period_s, time.monotonic(), 0.0

    def now(self) -> float:
        """Seconds since the start."""
        before, self._last = self._last, time.monotonic()
        self._now += min(self._last - before, 2 * self._period_s)
        return self._now


def within(seconds: float, call: Callable[[], Result], on_wait: Callable[[], None] = lambda: None) -> Result:
    """Return or raise the result of `call`, run in a thread that is abandoned after this many seconds.

    Args:
        on_wait: called once if it takes a good part of that time.

    Raises:
        TimeoutError: it does not end in time. Dask has no time limit for a handshake, or for a worker that hangs.
    """
    ended: list[tuple[Result | None, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((call(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TOLD_AFTER * seconds)
    if thread.is_alive():
        on_wait()
        thread.join((1 - TOLD_AFTER) * seconds)
    if not ended:
        raise TimeoutError(f"no answer within {seconds:g} s")
    result, error = ended[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


@contextmanager
def disks_watched(
    paths: Collection[Path], limit_s: float, warn: Callable[[str], None], end: Callable[[str], None]
) -> Iterator[None]:
    """Within this context, look at some paths regularly: a disk that stalls blocks whoever reads it, without an error.

    Args:
        warn: called with a line, in another thread, if a disk does not answer for some time.
        end: called with a sentence, in another thread, after `limit_s` seconds: this process may be blocked, so that
            only leaving it at once ends it.
    """
    ended = threading.Event()
    period_s = min(LOOK_EVERY_S, TOLD_AFTER * limit_s)
    clock = RunningClock(period_s / 2)
    asked: list[tuple[float, Path]] = []  # the question that has no answer yet

    def look() -> None:
        while True:
            for path in [*paths]:
                asked.append((clock.now(), path))
                with suppress(OSError):
                    os.stat(path)  # noqa: PTH116, only the answer matters
                asked.clear()
            if ended.wait(period_s):
                return

    def watch() -> None:
        told = None
        while not ended.wait(period_s / 2):
            question, now = next(iter(asked), None), clock.now()
            if question is None or now - question[0] < TOLD_AFTER * limit_s:
                continue
            if question != told:
                told = question
                what = f"the disk of {question[1]}, which does not answer"
                line = f"Waiting for {what}: the command ends after {limit_s:g} s."
                threading.Thread(target=warn, args=(line,), daemon=True).start()  # it may be logged on that disk
            if now - question[0] >= limit_s:
                end(
                    f"The disk of {question[1]} has not answered for {limit_s:g} s: check it, and run the same command "
                    "again to resume."
                )
                return

    for target in (look, watch):
        threading.Thread(target=target, name="disks", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
