"""Where shards are built: the executors by name. Only `dask` imports Dask, and only when it is asked for."""

from pathlib import Path

from facemill import ConfigError
from facemill.pipeline.build.executors.base import Executor, Outcome, tell

__all__ = ["EXECUTORS", "Executor", "Outcome", "create_executor", "tell"]

EXECUTORS = ("dask", "sequential")


def create_executor(
    name: str,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    gpus: int = 0,
    performance_report: str | Path | None = None,
) -> Executor:
    """An executor that is not yet entered.

    Args:
        name: one of `EXECUTORS`.
        workers, scheduler, gpus, performance_report: see `DaskExecutor`; the others know no such thing.

    Raises:
        ConfigError: for an unknown name, or an option that is Dask's alone.
    """
    if name == "dask":
        from facemill.pipeline.build.executors.dask import DaskExecutor

        return DaskExecutor(workers=workers, scheduler=scheduler, gpus=gpus, performance_report=performance_report)
    if name != "sequential":
        raise ConfigError(f"There is no executor {name!r}: say one of {', '.join(EXECUTORS)}.")
    if workers not in (None, 1) or scheduler is not None or performance_report is not None:
        raise ConfigError("The sequential executor has no workers: leave --workers, --scheduler and the report out.")
    from facemill.pipeline.build.executors.sequential import SequentialExecutor

    return SequentialExecutor()
