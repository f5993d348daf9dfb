"""What an executor is: something that calls a function on tasks, in whatever processes, and tells how each ended."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from facemill import ConfigError

__all__ = ["Executor", "Outcome", "listening", "tell"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Description = TypeVar("Description")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Result]):
    """How a task ended: with a result, with an error, or by killing its worker twice."""

    task: Task
    result: Result | None = None
    error: Exception | None = None
    killed: bool = False


class Executor(AbstractContextManager["Executor"], ABC):
    """Runs tasks between entering and leaving its context: in this process, unless a subclass takes workers.

    Args:
        workers: processes to start; None for as many as the machine bears.
        scheduler: address of a cluster that runs already.
        gpus: GPUs of this machine that the work will use.
        performance_report: where to write a page about the run.

    Raises:
        ConfigError: something is asked for that this executor does not have.
    """

    dashboard: str | None = None
    """Address of a page that shows the work; None where there is none."""

    def __init__(
        self,
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        gpus: int = 0,
        performance_report: str | Path | None = None,
    ) -> None:
        if workers not in (None, 1) or scheduler is not None or performance_report is not None:
            raise ConfigError("This executor has no workers: leave out --workers, --scheduler and reports.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held unless a subclass says so."""

    @abstractmethod
    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """Call `function(task, worker_number, threads)` on tasks; outcomes come as they end, in any order.

        Args:
            on_message: called here with whatever a task says by `tell`; what it raises ends the run.
        """

    def choose_workers(
        self,
        describe: Callable[..., Description],
        *arguments: Any,
        choose: Callable[[dict[str, Description]], list[str]],
    ) -> None:
        """Ask workers that may differ from this installation what they are, and use those that `choose` gives.

        Here there are none.

        Args:
            describe: sent by value with all of its module: workers may not have it. Called with `arguments`.
            choose: gets what they say, by address, and gives the addresses of those that may work.
        """


_listener: ContextVar[Callable[[Any], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Callable[[Any], None]) -> Iterator[None]:
    """Inside, what `tell` is given goes to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(message: Any) -> None:
    """Say something to whoever runs the task that calls this: any plain value. Elsewhere, nothing happens."""
    listener = _listener.get()
    if listener is not None:
        listener(message)
