"""Watching a Dask cluster from its client: the scheduler answers, there are workers, and each makes progress."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from facemill import ClusterError
from facemill.pipeline.build.executors.base import Executor
from facemill.pipeline.build.patience import LOOK_EVERY_S, TOLD_AFTER, RunningClock, within

__all__ = ["ClusterWatch", "no_answer"]

Result = TypeVar("Result")

RESTART_S = 20.0
"""Longest time for ending a worker that makes no progress, before the scheduler forgets it."""
NOBODY = ""
"""In place of the address of a worker: who has the tasks that were submitted if none has any."""


class ClusterWatch:
    """Asks the scheduler, each time for as long as `Limits.wait_s` at most.

    Args:
        client: a Dask client.
        executor: whose limits hold, and whose `warn` is told what is waited for.
    """

    def __init__(self, client: Any, executor: Executor) -> None:
        self._client, self._executor, self._limits = client, executor, executor.limits
        self._alone_since: float | None = None
        self._told = False
        self._clock = RunningClock(LOOK_EVERY_S)
        self._seen: dict[str, tuple[Any, float]] = {}  # by address: signs of its tasks, and since when they are these

    def ask(self, question: Callable[[], Result]) -> Result:
        """The scheduler's answer.

        Raises:
            ClusterError: if it does not answer.
        """
        limit_s = self._limits.wait_s
        told = f"Waiting for the scheduler, which does not answer: the command ends after {limit_s:g} s."
        try:
            return within(limit_s, question, lambda: self._executor.warn(told))
        except Exception as error:  # of several kinds while the client tries to connect again
            raise no_answer(error) from error

    def workers(self) -> Any:
        """The workers that the scheduler knows, by address."""
        return self.ask(lambda: self._client.scheduler_info(n_workers=-1)["workers"])

    def wait_for_workers(self) -> None:
        """Wait for the first worker.

        Raises:
            ClusterError: if none comes in time, or the scheduler is gone.
        """
        limit_s, address = self._limits.wait_s, self._client.scheduler.address
        for wait_s in (min(LOOK_EVERY_S, limit_s / 2), limit_s):
            try:
                self._client.wait_for_workers(1, timeout=wait_s)
            except TimeoutError:
                if wait_s < limit_s:
                    self._executor.warn(f"Waiting for workers of {address}: the command ends after {limit_s:g} s.")
            except Exception as error:  # of several kinds, as in `ask`
                raise no_answer(error) from error
            else:
                return
        raise ClusterError(f"The scheduler at {address} has no workers: start workers, and run the same command again.")

    def check_workers(self, chosen: list[str] | None) -> None:
        """See that there are workers; call it regularly.

        Args:
            chosen: addresses of those that get work; None: all.

        Raises:
            ClusterError: if there has been none for too long.
        """
        if any(chosen is None or address in chosen for address in self.workers()):
            self._alone_since, self._told = None, False
            return
        none, limit_s = "no worker" if chosen is None else "no worker that can be used", self._limits.wait_s
        self._alone_since = self._alone_since or time.monotonic()
        alone_s = time.monotonic() - self._alone_since
        if alone_s >= TOLD_AFTER * limit_s and not self._told:
            self._told = True
            self._executor.warn(f"Waiting for workers: there is {none}. The command ends after {limit_s:g} s.")
        if alone_s >= limit_s:
            raise ClusterError(
                f"There has been {none} for {limit_s:g} s: check the workers' logs, start workers, and run the same "
                "command again to resume."
            )

    def check_progress(self, tasks: Mapping[str, Any]) -> None:
        """Take the tasks of workers that make no progress from them; call it regularly.

        A worker that was stopped, is lost in a decoder or waits for a disk may never end. A nanny starts another
        process in its place; one without a nanny is not used any more.

        Args:
            tasks: those at work, by key.

        Raises:
            ClusterError: if no worker has anything to do for too long. Dask may hold messages for as long as the
                system's clock is set back.
        """
        processing = self.ask(self._client.processing)  # somebody else's, too
        held = {address: tasks.keys() & set(keys) for address, keys in processing.items()}
        nobody = self._alone_since is None and not any(processing.values())  # `check_workers` speaks for no worker
        held[NOBODY] = set(tasks) if nobody else set()
        now = self._clock.now()
        for address, keys in held.items():
            signs = [(key, self._executor.progress(tasks[key])) for key in sorted(keys)]
            if address not in self._seen or self._seen[address][0] != signs or not keys:
                self._seen[address] = signs, now
        if now - self._seen[NOBODY][1] >= self._limits.wait_s:
            raise ClusterError(
                f"No worker has had work for {self._limits.wait_s:g} s, though there is some: all are paused, "
                "or the system's clock was set back; check the workers' logs, and run the same command again to resume."
            )
        limit_s = self._limits.stall_s
        stalled = [address for address in held if address and now - self._seen[address][1] >= limit_s]
        for address in stalled:
            names = ", ".join(sorted(str(tasks[key]) for key in held[address]))
            self._executor.warn(
                f"The worker at {address} has made no progress for {limit_s:g} s: its work ({names}) is given to "
                "another one."
            )
        if stalled:
            self._seen = {address: seen for address, seen in self._seen.items() if address not in stalled}
            options = {"timeout": RESTART_S, "wait_for_workers": False, "on_error": "return"}
            options["stimulus_id"] = f"facemill-{secrets.token_hex(4)}"
            restart = self._client.scheduler.restart_workers
            self.ask(lambda: self._client.sync(restart, workers=stalled, **options))


def no_answer(error: BaseException) -> ClusterError:
    """The error to raise where one of Dask's says that the scheduler cannot be reached any more."""
    return ClusterError(
        f"The scheduler no longer answers ({error}): check its log, and run the same command again to resume."
    )
