"""Executors, which run the building of shards. Only `dask` imports Dask, and only if it is used."""

from facemill.pipeline.build.executors.base import Certificates, Executor, Outcome, tell

__all__ = ["Certificates", "Executor", "Outcome", "tell"]
