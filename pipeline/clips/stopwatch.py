"""Where the time goes: seconds by stage, summed over a shard."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Stopwatch"]

Item = TypeVar("Item")


class Stopwatch:
    """Adds up wall-clock seconds by stage. One for each thread; `merge` them afterwards."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def timed(self, stage: str, items: Iterator[Item]) -> Iterator[Item]:
        """Pass an iterator's items on, counting the time spent in getting each."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def merge(self, other: "Stopwatch") -> None:
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
