"""Running shards on Dask: here or on a cluster, a bounded number at a time. Nothing else imports Dask."""

import itertools
import math
import pickle
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar
from zlib import crc32

import cloudpickle  # type: ignore[import-untyped]
import dask
import distributed
from dask.system import CPU_COUNT
from distributed.scheduler import KilledWorker

from facemill import ConfigError, FacemillError
from facemill.pipeline.build.executors.base import Executor, Outcome, listening
from facemill.pipeline.build.executors.own_processes import (
    deaf_to_interrupts,
    environment_kept,
    main_module_untold,
    quiet_event_loop,
)
from facemill.pipeline.build.executors.reaching import explain_failure, within

__all__ = ["DaskExecutor"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Description = TypeVar("Description")

TASKS_PER_WORKER = 2
"""Tasks in the scheduler's hands for each worker: one at work and one that waits."""
RETRIES = 2
"""Further tries of a task that ends in an exception, other than an error of facemill's own."""
CONNECT_TIMEOUT_S = 30
LOOK_EVERY_S = 10.0
NO_WORKERS_S = 120.0
"""Longest time without any worker."""

SETTINGS = {
    # A task is given up when its worker has died twice.
    "distributed.scheduler.allowed-failures": 1,
    # Tasks wait with the scheduler, not with workers: a dying worker takes none but its own with it.
    "distributed.scheduler.worker-saturation": 1.0,
    # A killed worker is replaced, however long that takes on a busy machine; after 15 s Dask would give its place up.
    "distributed.deploy.lost-worker-timeout": "1h",
    "distributed.admin.tick.limit": "1m",  # a worker that decodes holds the GIL at times: not worth a warning
}


class DaskExecutor(Executor):
    """Workers: a `LocalCluster` of processes, or those of a scheduler that somebody runs.

    Args:
        workers: processes to start here; by default one per core, or two cores a process where GPUs
            are shared (`gpus`).
        scheduler: address of a running scheduler, such as `tcp://host:8786`; no process is started then.
        gpus: GPUs of this machine that the work will use.
        performance_report: where to write Dask's own HTML page about the run.

    Raises:
        ConfigError: if the scheduler cannot be reached, or something is asked for that is not installed.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        gpus: int = 0,
        performance_report: str | Path | None = None,
    ) -> None:
        self.workers = workers or (max(gpus, CPU_COUNT // 2, 1) if gpus else CPU_COUNT)
        self._scheduler, self._report = scheduler, performance_report
        self._resources = ExitStack()
        self._client: Any = None
        self._chosen: list[str] | None = None  # addresses of the workers that get work; None: all
        self._counted: tuple[float, int] = (-math.inf, 0)  # when the scheduler's workers were counted, and how many

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.enter_context(dask.config.set(SETTINGS))
            resources.enter_context(environment_kept(dask.config.get("distributed.nanny.pre-spawn-environ")))
            resources.enter_context(quiet_event_loop())
            self._client = resources.enter_context(self._connect(resources))
            if self._report is not None:
                resources.enter_context(self._performance_report(self._report))
            if self._scheduler is not None or find_spec("bokeh"):
                self.dashboard = self._client.dashboard_link
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """See `Executor.run`. However many tasks there are, the scheduler holds no more than a few for each worker.

        Raises:
            ConfigError: if there is no worker any more, and none comes back in time.
        """
        waiting = iter(tasks)
        at_work: dict[Any, Task] = {}
        events: SimpleQueue[Any] = SimpleQueue()
        topic = f"facemill-{secrets.token_hex(8)}"
        self._client.subscribe_topic(topic, lambda event: events.put(event[1]["told"]))

        def fill() -> None:
            for task in itertools.islice(waiting, max(0, self._window() - len(at_work))):
                # Pickled here, since a worker goes silent where Dask cannot load what it is sent.
                work = pickle.dumps((function, task))
                future = self._client.submit(
                    _call, work, self._threads(), topic, pure=False, retries=RETRIES, workers=self._chosen
                )
                at_work[future] = task
                future.add_done_callback(events.put)

        try:
            fill()
            while at_work:
                event = self._next_event(events)
                if isinstance(event, distributed.Future):
                    yield _outcome(at_work.pop(event), event)
                    event.release()
                    fill()
                else:
                    on_message(event)
        finally:
            self._client.unsubscribe_topic(topic)

    def choose_workers(
        self,
        describe: Callable[..., Description],
        *arguments: Any,
        choose: Callable[[dict[str, Description]], list[str]],
    ) -> None:
        """See `Executor.choose_workers`; only those of somebody's scheduler are asked.

        Raises:
            ConfigError: if they do not answer.
        """
        if self._scheduler is None:
            return  # they are this very installation
        module = sys.modules[describe.__module__]
        cloudpickle.register_pickle_by_value(module)
        try:
            told = within(CONNECT_TIMEOUT_S, lambda: self._client.run(describe, *arguments))
        except Exception as error:
            raise ConfigError(
                f"The workers of {self._scheduler} do not answer ({error}): look at their logs."
            ) from error
        finally:
            cloudpickle.unregister_pickle_by_value(module)
        chosen = choose(told)
        self._chosen = chosen if len(chosen) < len(told) else None

    def _next_event(self, events: SimpleQueue[Any]) -> Any:
        """What happens next; looks from time to time whether anybody is there to make it happen."""
        alone_since: float | None = None
        while True:
            try:
                return events.get(timeout=LOOK_EVERY_S)
            except Empty:
                if self._workers():
                    alone_since = None
                    continue
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since >= NO_WORKERS_S:
                raise ConfigError(
                    f"There has been no worker for {NO_WORKERS_S:g} s: look at the workers' logs, start some, and run "
                    "the same command again."
                )

    def _connect(self, resources: ExitStack) -> Any:
        if self._scheduler is None:
            resources.enter_context(main_module_untold())
            with deaf_to_interrupts():
                cluster = distributed.LocalCluster(
                    n_workers=self.workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,  # windows bound the memory; a pause or a kill by Dask would only be in the way
                    dashboard_address="127.0.0.1:0",  # any free port; None would claim 8787 and warn where it is taken
                    silence_logs="CRITICAL",  # what matters comes as an outcome
                    security=_own_security(),
                )
            return distributed.Client(resources.enter_context(cluster))
        timeout = CONNECT_TIMEOUT_S
        try:  # Dask's own timeout is not one of its handshake
            client = within(timeout + 1, lambda: distributed.Client(self._scheduler, timeout=timeout))
        except Exception as error:  # whatever a server says that is none, or wants other credentials
            raise ConfigError(explain_failure(self._scheduler, error, timeout)) from error
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
        except TimeoutError:
            client.close()
            raise ConfigError(f"The scheduler at {self._scheduler} has no workers: start some.") from None
        return client

    def _window(self) -> int:
        if self._scheduler is None:
            return self.workers * TASKS_PER_WORKER
        if time.monotonic() - self._counted[0] >= LOOK_EVERY_S:  # all that it knows of each comes with the answer
            self._counted = time.monotonic(), len(self._workers())
        return max(1, self._counted[1]) * TASKS_PER_WORKER

    def _workers(self) -> Any:
        """The workers that the scheduler knows.

        Raises:
            ConfigError: if it does not answer.
        """
        try:
            return within(NO_WORKERS_S, lambda: self._client.scheduler_info(n_workers=-1)["workers"])
        except (TimeoutError, OSError) as error:
            raise ConfigError(
                f"The scheduler does not answer any more ({error}): look at its log, and run the same command again."
            ) from error

    def _threads(self) -> int:
        return 1 if self._scheduler else max(1, CPU_COUNT // self.workers)

    def _performance_report(self, path: str | Path) -> Any:
        try:
            import bokeh  # noqa: F401
        except ImportError as error:
            raise ConfigError("--performance-report needs bokeh: pip install 'facemill[dashboard]'.") from error
        return distributed.performance_report(filename=str(path))


def _outcome(task: Task, future: Any) -> Outcome[Task, Any]:
    # Also the result of a finished task may not come: if its worker died with it, and so did the next ones.
    try:
        result = future.result()
        return Outcome(task, error=result) if isinstance(result, FacemillError) else Outcome(task, result=result)
    except KilledWorker as error:
        return Outcome(task, error=error, killed=True)
    except distributed.CancelledError:
        return Outcome(task, error=RuntimeError("the scheduler forgot a task: was it restarted?"))
    except Exception as error:
        return Outcome(task, error=error)


def _own_security() -> Any:
    """Credentials of this cluster alone: without them, any user of the machine could run code in its processes."""
    try:
        return distributed.Security.temporary()
    except ImportError as error:
        raise ConfigError("Workers on this machine need the package cryptography: pip install cryptography.") from error


def _call(work: bytes, threads: int, topic: str) -> Any:
    function, task = pickle.loads(work)
    worker = distributed.get_worker()
    # Dask pauses a worker whose memory is nearly full until results are fetched from it. Ours has none: it would never
    # get work again, and the build never end. The limit itself stays.
    worker.memory_manager.memory_pause_fraction = False
    number = worker.name if isinstance(worker.name, int) else crc32(worker.address.encode())
    try:
        with listening(lambda message: worker.log_event(topic, {"told": message})):
            return function(task, number, threads)
    except FacemillError as error:  # handed back rather than raised: no further try would mend it
        return error
