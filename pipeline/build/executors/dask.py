"""Running shards on Dask, locally or on a cluster, a bounded number at a time. No other module imports Dask."""

import itertools
import math
import pickle
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

import dask
import distributed
from dask.system import CPU_COUNT
from distributed.scheduler import KilledWorker

from facemill import ClusterError, ConfigError, FacemillError
from facemill.pipeline.build.executors.base import Certificates, Executor, Outcome
from facemill.pipeline.build.executors.by_value import ByValue
from facemill.pipeline.build.executors.cluster_watch import ClusterWatch, no_answer
from facemill.pipeline.build.executors.forks import METHOD, forks
from facemill.pipeline.build.executors.late_workers import LateWorkers
from facemill.pipeline.build.executors.numbering import WorkerNumbers, visible_gpus
from facemill.pipeline.build.executors.own_processes import (
    environment_kept,
    interrupts_blocked,
    main_module_hidden,
    quiet_event_loop,
)
from facemill.pipeline.build.executors.reaching import explain_failure, plain_warning
from facemill.pipeline.build.patience import LOOK_EVERY_S, within

__all__ = ["DaskExecutor"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Description = TypeVar("Description")

TASKS_PER_WORKER = 2
"""Tasks submitted to the scheduler per worker: one running and one waiting."""
RETRIES = 2
"""Retries of a task that raises an exception other than a `FacemillError`."""
CONNECT_TIMEOUT_S = 30

HOW_TO_START = "distributed.worker.multiprocessing-method"
PROFILING = "distributed.worker.profile.enabled"
"""Dask looks at each worker's stack a hundred times a second, and keeps what it saw for an hour: memory that grows."""
HASH_SEED = 6640
"""Dask gives it to workers that are spawned."""
SETTINGS = {
    # A task is given up when its worker has died twice.
    "distributed.scheduler.allowed-failures": 1,
    # Tasks wait in the scheduler, not in workers: a dying worker loses only its own task.
    "distributed.scheduler.worker-saturation": 1.0,
    # Wait for the replacement of a killed worker, even on a busy machine; by default Dask gives up after 15 s.
    "distributed.deploy.lost-worker-timeout": "1h",
    # By default each thread has memory of its own, which glibc returns to the system and gets back all the time.
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    # By default each worker, nanny and scheduler looks fifty times a second whether it was held up: 2 % of two cores.
    # Decoding sometimes holds the GIL: no warning needed.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "1m",
    # Pages about tasks, paths and logs, which any user of the machine could read: TLS does not cover them.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class DaskExecutor(Executor):
    """Runs tasks on a `LocalCluster` of processes, or on the workers of an existing scheduler.

    Args:
        workers: number of local processes; by default one per core, or one per GPU (`gpus`).
        scheduler: address of a running scheduler, such as `tcp://host:8786`; no process is started then.
        gpus: number of this machine's GPUs that the work will use.
        performance_report: file to write Dask's HTML performance report to.
        certificates: for the scheduler; by default those of Dask's configuration.

    Raises:
        ConfigError: if the scheduler cannot be reached, or a required package is not installed.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        gpus: int = 0,
        performance_report: str | Path | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        if certificates is not None and scheduler is None:
            raise ConfigError("Certificates are those of a --scheduler: name one, or leave out --tls-….")
        self.workers = workers or gpus or CPU_COUNT
        self._scheduler, self._report, self._certificates = scheduler, performance_report, certificates
        self._resources = ExitStack()
        self._client: Any = None
        self._chosen: list[str] | None = None  # addresses of the workers that get work; None: all
        self._late = LateWorkers()
        self._numbers = WorkerNumbers()  # of a cluster's workers; local ones are numbered by their names
        self._counted: tuple[float, int] = (-math.inf, 0)  # (time of the last count, number of the scheduler's workers)
        self._look_at = 0.0
        self._watch: ClusterWatch

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            # A scheduler of the user's may run in this process, as that of a SLURMCluster does.
            resources.enter_context(dask.config.set(self._settings()))
            resources.enter_context(environment_kept(dask.config.get("distributed.nanny.pre-spawn-environ")))
            resources.enter_context(quiet_event_loop())
            self._client = resources.enter_context(self._connect(resources))
            self._watch = ClusterWatch(self._client, self)
            if self._report is not None:
                resources.enter_context(self._performance_report(self._report))
            if self._scheduler is not None:
                self.dashboard = self._client.dashboard_link
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """See `Executor.run`. At any time the scheduler holds only a few tasks per worker.

        Raises:
            ClusterError: if the scheduler or all workers are lost, and none returns in time.
        """
        waiting = iter(tasks)
        self._look_at = time.monotonic() + LOOK_EVERY_S
        at_work: dict[Any, Task] = {}
        events: SimpleQueue[Any] = SimpleQueue()
        topic = f"facemill-{secrets.token_hex(8)}"
        call = ByValue(_call)
        self._client.subscribe_topic(topic, lambda event: events.put(event[1]["told"]))

        def submit(task: Task, spare: int | None = None) -> None:
            # Pickled here, since a worker hangs silently if Dask cannot unpickle a task.
            numbers = None if self._scheduler is None else (self._numbers.of, spare)
            arguments = pickle.dumps((function, task)), self._threads(), topic, self._late.check, numbers
            key = f"facemill-task-{secrets.token_hex(8)}"
            future = self._client.submit(call, *arguments, key=key, retries=RETRIES, workers=self._chosen)
            at_work[future] = task
            future.add_done_callback(events.put)

        def fill() -> None:
            for task in itertools.islice(waiting, max(0, self._window() - len(at_work))):
                submit(task)

        try:
            fill()
            while at_work:
                event = self._next_event(events, at_work)
                if isinstance(event, distributed.Future):
                    outcome = _outcome(at_work.pop(event), event)
                    event.release()
                    match outcome.result:
                        case ("unfit", address, told):
                            self._chosen = self._late.leave_out(address, told, self._chosen or self._watch.workers())
                            submit(outcome.task)
                            continue
                        case ("unnumbered", address, gpus):
                            self._numbers.add({address: gpus}, self._watch.workers)
                            # Not asked for again: a task that kills each worker would get new ones without end.
                            submit(outcome.task, spare=0)
                            continue
                    yield outcome
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
        """See `Executor.choose_workers`; local workers are not asked.

        Raises:
            ClusterError: if the workers do not answer.
        """
        if self._scheduler is None:
            return  # local workers use this installation
        sent, numbering = ByValue(describe), ByValue(visible_gpus)
        try:
            told = within(CONNECT_TIMEOUT_S, lambda: self._client.run(sent, *arguments))
            gpus = within(CONNECT_TIMEOUT_S, lambda: self._client.run(numbering))
        except Exception as error:
            raise ClusterError(
                f"The workers of {self._scheduler} do not answer ({error}): check their logs, and run the same command "
                "again."
            ) from error
        chosen = choose(told)
        self._chosen = chosen if len(chosen) < len(told) else None
        self._numbers.add({address: gpus[address] for address in chosen if address in gpus}, self._watch.workers)
        self._late = LateWorkers.like(told[chosen[0]], sent, arguments, choose)

    def _next_event(self, events: SimpleQueue[Any], at_work: dict[Any, Any]) -> Any:
        """Wait for the next event; regularly check that there are still workers, and that each makes progress."""
        while True:
            if time.monotonic() >= self._look_at:
                self._watch.check_workers(self._chosen)
                self._watch.check_progress({future.key: task for future, task in at_work.items()})
                self._look_at = time.monotonic() + LOOK_EVERY_S
            with suppress(Empty):
                return events.get(timeout=max(0.0, self._look_at - time.monotonic()))

    def _settings(self) -> dict[str, Any]:
        if self._scheduler is not None:
            return {}
        return {**SETTINGS, HOW_TO_START: METHOD, PROFILING: self._report is not None}

    def _connect(self, resources: ExitStack) -> Any:
        if self._scheduler is None:
            resources.enter_context(main_module_hidden())
            variables = {"PYTHONHASHSEED": HASH_SEED, **dask.config.get("distributed.nanny.pre-spawn-environ")}
            resources.enter_context(forks(variables))
            options = {
                "n_workers": self.workers,
                "threads_per_worker": 1,
                "processes": True,
                "memory_limit": 0,  # windows bound the memory: Dask need not pause or kill workers
                "dashboard_address": "127.0.0.1:0",  # any free port; None would use 8787, and warn if it is in use
                "scheduler_kwargs": {"dashboard": False},
                "silence_logs": "CRITICAL",  # failures are reported as outcomes
                "security": _own_security(),
            }
            try:
                with interrupts_blocked():  # entered in it, too: the interrupt comes at its end
                    cluster = resources.enter_context(distributed.LocalCluster(**options))
            except RuntimeError as error:  # as when the machine was suspended meanwhile
                raise ClusterError(
                    f"The workers on this machine did not start ({error}): run the same command again."
                ) from error
            return _Client(cluster)
        timeout, security = CONNECT_TIMEOUT_S, None
        if (files := self._certificates) is not None:
            paths = {"tls_ca_file": files.ca, "tls_client_cert": files.cert, "tls_client_key": files.key}
            texts = {name: str(path.absolute()) for name, path in paths.items()}
            security = distributed.Security(**texts, require_encryption=True)
        if warning := plain_warning(self._scheduler):
            self.warn(warning)
        try:  # Dask's own timeout does not cover its handshake, and ends late on a busy machine
            client = within(timeout + 3, lambda: _Client(self._scheduler, timeout=timeout, security=security))
        except Exception as error:  # any error from a server that is not a scheduler, or wants other credentials
            raise ConfigError(explain_failure(self._scheduler, error, timeout)) from error
        try:
            ClusterWatch(client, self).wait_for_workers()
        except FacemillError:
            client.close()
            raise
        return client

    def _window(self) -> int:
        if self._scheduler is None:
            return self.workers * TASKS_PER_WORKER
        if time.monotonic() - self._counted[0] >= LOOK_EVERY_S:  # rarely, since the answer is large
            self._counted = time.monotonic(), len(self._watch.workers())
        return max(1, self._counted[1]) * TASKS_PER_WORKER

    def _threads(self) -> int:
        return 1 if self._scheduler else max(1, CPU_COUNT // self.workers)

    def _performance_report(self, path: str | Path) -> Any:
        try:
            import bokeh  # noqa: F401
        except ImportError as error:
            raise ConfigError("--performance-report needs bokeh: pip install 'facemill[dashboard]'.") from error
        return distributed.performance_report(filename=str(path))


class _Client(distributed.Client):  # type: ignore[misc]
    """Closes at once if it cannot connect.

    Dask's would be closed by the garbage collector. Where that comes while another client starts, in the same thread,
    closing waits for ever for a lock that starting holds.
    """

    def start(self, **options: Any) -> None:
        try:
            super().start(**options)
        except BaseException:
            self.close()
            raise


def _outcome(task: Task, future: Any) -> Outcome[Task, Any]:
    # Even the result of a finished task may be lost: if its worker died with it, and the next workers too.
    try:
        result = future.result()
        return Outcome(task, error=result) if isinstance(result, FacemillError) else Outcome(task, result=result)
    except KilledWorker as error:
        return Outcome(task, error=error, killed=True)
    except distributed.CancelledError:
        return Outcome(
            task,
            error=ClusterError(
                "The scheduler was stopped or restarted, and forgot its tasks: run the same command again to resume."
            ),
        )
    except Exception as error:
        if isinstance(error, OSError) and future.status != "error":  # not the task's: its result could not be fetched
            return Outcome(task, error=no_answer(error))
        return Outcome(task, error=error)


def _own_security() -> Any:
    """Temporary credentials of this cluster: without them, any user of the machine could run code in its processes."""
    try:
        return distributed.Security.temporary()
    except ImportError as error:
        raise ConfigError("Workers on this machine need the package cryptography: pip install cryptography.") from error


def _call(
    work: bytes, threads: int, topic: str, check: bytes | None, numbers: tuple[dict[str, int], int | None] | None
) -> Any:
    """Run a task on a worker. Sent by value and without facemill's names: a worker may lack it, and would hang.

    Returns ("unfit", address, description) from a worker that differs from those that were chosen, and ("unnumbered",
    address, GPUs) from one that has no number, in place of the task's result. `numbers` has the number of each worker,
    and that of a worker without one, if it shall not be asked for.
    """
    worker = distributed.get_worker()
    if check is not None and getattr(worker, "facemill_run", None) != topic:
        describe, arguments, expected = pickle.loads(check)
        if (told := describe(*arguments)) != expected:
            return ("unfit", worker.address, told)
        worker.facemill_run = topic
    from facemill.errors import FacemillError
    from facemill.pipeline.build.executors.base import listening
    from facemill.pipeline.build.executors.numbering import visible_gpus as gpus_here

    number = worker.name if numbers is None else numbers[0].get(worker.address, numbers[1])
    if number is None:
        return ("unnumbered", worker.address, gpus_here())

    function, task = pickle.loads(work)
    # Dask pauses a worker whose memory is nearly full until its results are fetched. Workers here hold no results: a
    # paused one would never resume, and the build would never end. The limit itself stays in force.
    worker.memory_manager.memory_pause_fraction = False
    try:
        with listening(lambda message: worker.log_event(topic, {"told": message})):
            return function(task, number, threads)
    except FacemillError as error:  # returned rather than raised, since a retry would not help
        return error
