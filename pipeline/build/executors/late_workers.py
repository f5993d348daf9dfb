"""Workers that join a running build: each describes itself before its first task, and must be like the others."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from facemill import ConfigError
from facemill.pipeline.build.executors.by_value import ByValue

__all__ = ["LateWorkers"]


@dataclass
class LateWorkers:
    """How late workers are checked, and which were found unfit.

    Attributes:
        check: a function, its arguments and the expected result, pickled by value; None for no check.
        expected: description of the workers that were chosen at the start.
        choose: see `Executor.choose_workers`.
        left_out: addresses of late workers that get no work.
    """

    check: bytes | None = None
    expected: Any = None
    choose: Callable[[dict[str, Any]], list[str]] = list
    left_out: set[str] = field(default_factory=set)

    @classmethod
    def like(
        cls, expected: Any, describe: ByValue, arguments: tuple[Any, ...], choose: Callable[[dict[str, Any]], list[str]]
    ) -> "LateWorkers":
        """Expect the description that the chosen workers gave of themselves."""
        return cls(pickle.dumps((describe, arguments, expected)), expected, choose)

    def leave_out(self, address: str, told: Any, chosen: Iterable[str] | Mapping[str, Any]) -> list[str]:
        """Addresses of the workers that get work from now on.

        Args:
            address, told: of a worker that differs from the others.
            chosen: addresses of the workers that got work so far.

        Raises:
            ConfigError: the worker would give other bytes, or no other one is left.
        """
        if address not in self.left_out:
            self.left_out.add(address)
            self.choose({"": self.expected, address: told})
        left = [each for each in chosen if each not in self.left_out]
        if not left:
            raise ConfigError("No worker is left that can be used: start workers, and run the same command again.")
        return left
