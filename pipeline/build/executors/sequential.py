"""Running shards in this process, one after another: for debugging, notebooks and batch systems."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from facemill.pipeline.build.executors.base import Executor, Outcome, listening

__all__ = ["SequentialExecutor"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class SequentialExecutor(Executor):
    """Runs tasks in this process.

    A video that crashes the process ends the run; with Dask's workers, the build would identify the video and go on.
    `Limits.stall_s` is of no effect: a step that never returns could only be ended with this process, and nobody else
    would go on with its work. Waits for a packet (`decode.timeout_s`) and for disks (`Limits.wait_s`) are limited, and
    batch systems limit the time of a job, which the same command then resumes.
    """

    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """Tasks run when their outcomes are requested, and errors are not retried."""
        for task in tasks:
            with listening(on_message):
                try:
                    outcome = Outcome(task, function(task, 0, os.cpu_count() or 1))
                except Exception as error:
                    outcome = Outcome(task, error=error)
            yield outcome
