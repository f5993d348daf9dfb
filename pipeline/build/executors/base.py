"""The executor interface: calls a function on tasks, in this process or others, and reports how each task ended."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from facemill import ConfigError
from facemill.pipeline.build.patience import Limits

__all__ = ["Certificates", "Executor", "Outcome", "listening", "tell"]

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


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files with which a scheduler is reached by TLS: the authority's certificate, one's own, and its private key."""

    ca: Path
    cert: Path
    key: Path


class Executor(AbstractContextManager["Executor"], ABC):
    """Runs tasks within its context: in this process, unless a subclass starts or uses workers.

    Args:
        workers: number of processes to start; None for the executor's default.
        scheduler: address of a running cluster.
        gpus: number of this machine's GPUs that the work will use.
        performance_report: file to write a performance report to.
        certificates: for the scheduler.

    Raises:
        ConfigError: an argument is not supported by this executor.
    """

    dashboard: str | None = None
    """Address of a page that shows the progress of the work; None if there is none."""
    limits = Limits()
    warn: Callable[[str], None] = staticmethod(lambda line: None)
    """Called with a line on what is waited for, or was taken from a worker."""
    progress: Callable[[Any], Any] = staticmethod(lambda task: None)
    """Of a task, a value that changes as long as it makes progress."""

    def __init__(
        self,
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        gpus: int = 0,
        performance_report: str | Path | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        if workers not in (None, 1) or {scheduler, performance_report, certificates} != {None}:
            raise ConfigError("This executor has no workers: leave out --workers, --scheduler, --tls-… and reports.")

    def watch(self, limits: Limits, warn: Callable[[str], None], progress: Callable[[Any], Any]) -> None:
        """Set the attributes of these names, before the context is entered; without workers, nothing is watched."""
        self.limits, self.warn, self.progress = limits, warn, progress

    def __exit__(self, *error: object) -> None:
        """Release resources; this class holds none."""

    @abstractmethod
    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """Call `function(task, worker_number, threads)` on each task; yield outcomes as tasks end, in any order.

        Args:
            on_message: called here with each message that a task sends by `tell`; an exception in it ends the run.
        """

    def choose_workers(
        self,
        describe: Callable[..., Description],
        *arguments: Any,
        choose: Callable[[dict[str, Description]], list[str]],
    ) -> None:
        """Call `describe` on workers that may differ from this installation, and use only those that `choose` returns.

        The default does nothing, for executors without such workers.

        Args:
            describe: called with `arguments`; sent by value with its whole module, since workers may not have it.
            choose: maps descriptions by address to the addresses of the workers to use.
        """


_listener: ContextVar[Callable[[Any], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Callable[[Any], None]) -> Iterator[None]:
    """Within this context, pass messages sent by `tell` to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(message: Any) -> None:
    """Send a plain value from a task to the process that runs the executor; outside a task, do nothing."""
    listener = _listener.get()
    if listener is not None:
        listener(message)
