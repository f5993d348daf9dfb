"""Time measurement: seconds by stage, summed over a shard."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Stopwatch"]

Item = TypeVar("Item")


class Stopwatch:
    """Adds up wall-clock seconds by stage. Use one per thread, and `merge` them afterwards.

    Args:
        on_stage: called with the name of each stage that begins.
    """

    def __init__(self, on_stage: Callable[[str], None] = lambda stage: None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.on_stage = on_stage

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.on_stage(stage)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def timed(self, stage: str, items: Iterator[Item]) -> Iterator[Item]:
        """Yield an iterator's items, and count the time spent in getting each."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def merge(self, other: "Stopwatch") -> None:
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
