"""Executors, which run the building of shards. Only `dask` imports Dask, and only if it is used."""

from facemill.pipeline.build.executors.base import Executor, Outcome, tell

__all__ = ["Executor", "Outcome", "tell"]
