"""The build: plan shards, build and commit them on an executor, merge their tables."""

from facemill.pipeline.build.job import BuildReport, build

__all__ = ["BuildReport", "build"]
