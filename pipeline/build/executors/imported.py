"""What each worker of this machine needs, imported once before they are forked: nothing here may start a thread."""

import gc
from contextlib import suppress

__all__: list[str] = []

with suppress(Exception):  # told by the worker that needs it
    import pyarrow

    import facemill.pipeline.build.executors.dask
    import facemill.pipeline.build.groups
    import facemill.pipeline.build.shard  # noqa: F401

    pyarrow.array([0])  # its first array imports pandas, if that is installed: 0.16 s and 34 MiB of each worker

gc.freeze()  # else each worker's collections write to what was imported, and copy all of its pages
