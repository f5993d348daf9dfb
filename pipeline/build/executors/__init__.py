"""Where shards are built. Only `dask` imports Dask, and only when it is asked for."""

from facemill.pipeline.build.executors.base import Executor, Outcome, tell

__all__ = ["Executor", "Outcome", "tell"]
