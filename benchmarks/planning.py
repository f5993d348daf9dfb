"""Planning a million videos: seconds and peak memory of the driver."""

import resource
import subprocess
import sys
import time

from benchmarks.row import Row
from facemill.manifests import VideoEntry, group_clips
from facemill.pipeline.build.plan import plan_shards
from facemill.pipeline.config.recipe import load_recipe

__all__ = ["measure"]

VIDEOS = 1_000_000
FAKES = 4


def measure() -> list[Row]:
    """Plan in a process of its own, so that the peak is its own."""
    told = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True).stdout
    seconds, gibibytes = map(float, told.split())
    return [
        Row("planning", "seconds for a million videos / 60", seconds / 60, "<= 1", f"{seconds:.1f} s"),
        Row("planning", "peak memory / 2 GiB", gibibytes / 2, "<= 1", f"{gibibytes:.2f} GiB"),
    ]


def _entries() -> list[VideoEntry]:
    entries = []
    for number in range(VIDEOS // (FAKES + 1)):
        split = ("train", "train", "train", "val", "test")[number % 5]
        shared = {"dataset": "x", "quality": "c23", "split": split, "root": "/data"}
        real = f"x-real-c23-{number:06d}"
        entries.append(VideoEntry(real, method="real", label=0, path=f"real/{number:06d}.mp4", **shared))
        for fake in range(FAKES):
            name = f"x-fake{fake}-c23-{number:06d}"
            path = f"fake{fake}/{number:06d}.mp4"
            entries.append(VideoEntry(name, method=f"fake{fake}", label=1, path=path, source_id=real, **shared))
    return entries


def _main() -> None:
    entries = _entries()
    start = time.perf_counter()
    specs = plan_shards(group_clips(entries), load_recipe("default"))
    seconds = time.perf_counter() - start
    assert sum(len(spec.groups) for spec in specs) == VIDEOS // (FAKES + 1)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


if __name__ == "__main__":
    _main()
