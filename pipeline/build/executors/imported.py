"""What each worker of this machine needs, imported once before they are forked: nothing here may start a thread."""

from contextlib import suppress

__all__: list[str] = []

with suppress(Exception):  # told by the worker that needs it
    import facemill.pipeline.build.executors.dask
    import facemill.pipeline.build.groups
    import facemill.pipeline.build.shard  # noqa: F401
