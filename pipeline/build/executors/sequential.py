"""Running shards in this very process, one after another: for debugging, notebooks and batch systems."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from facemill.pipeline.build.executors.base import Executor, Outcome, listening

__all__ = ["SequentialExecutor"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class SequentialExecutor(Executor):
    """No process is started.

    A video that kills the process that reads it ends the run, where Dask's workers would find the video.
    """

    def run(
        self,
        function: Callable[[Task, int, int], Result],
        tasks: Iterable[Task],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Task, Result]]:
        """See `Executor.run`. Tasks run when their outcomes are asked for, and an error is not tried again."""
        for task in tasks:
            with listening(on_message):
                try:
                    outcome = Outcome(task, function(task, 0, os.cpu_count() or 1))
                except Exception as error:
                    outcome = Outcome(task, error=error)
            yield outcome
