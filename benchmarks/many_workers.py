"""What many workers cost: 64 that only sleep for as long as a shard takes, and 8 that build on the cores of 2."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import distributed
import psutil

from benchmarks.build import _build
from benchmarks.clips import clip_groups
from benchmarks.row import Row
from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.build.executors import tell
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.config.recipe import Recipe, load_recipe

__all__ = ["measure"]

FEW, MANY, TURNS = 2, 8, 2
WORKERS = 64
ROUNDS = 4
GROUPS = 6
SHARD_S = 36.0
"""CPU seconds of six groups of FaceForensics++, as `ffpp` measures them."""
ROOT = Path(__file__).parents[1]


def measure(scratch: Path) -> list[Row]:
    """Costs of the driver and the scheduler, and of sharing two cores."""
    return [*_real_workers(scratch), *_sleeping_workers(scratch)]


def _real_workers(scratch: Path) -> list[Row]:
    """Builds by 2 and by 8 warm workers on the same cores, in turns: locks or I/O would make 8 of them slower."""
    groups = clip_groups(scratch, 2) * 8
    recipe = load_recipe("default", ["sample.frames=32"])
    with DaskExecutor(workers=FEW) as few, DaskExecutor(workers=MANY) as many:
        turns = [[_build_all(executor, groups, recipe, scratch) for executor in (few, many)] for _ in range(1 + TURNS)]
        del turns[0]  # the first group that a process builds takes it 0.7 s longer
    rows = []
    for part, what, unit in ((0, "CPU", "CPU s"), (1, "time", "s")):
        ratio = median(later[part] / former[part] for former, later in turns)
        former, later = (median(turn[which][part] for turn in turns) / len(groups) / 5 for which in (0, 1))
        details = f"{later:.2f} / {former:.2f} {unit} a video"
        rows.append(Row("workers", f"{MANY} workers / {FEW} on the same cores, {what}", ratio, "<= 1.1", details))
    return rows


def _build_all(executor: DaskExecutor, groups: list[ClipGroup], recipe: Recipe, scratch: Path) -> tuple[float, float]:
    """CPU seconds of this process and all below it, and seconds, to build a shard of each group."""
    out = scratch / "many-workers"
    specs = [ShardSpec(f"train-{number:06d}", "train", (group,)) for number, group in enumerate(groups)]
    before, start = _tree_cpu_s(), time.monotonic()
    for outcome in executor.run(partial(_build, BuildJob(out, recipe, device="cpu")), specs):
        assert outcome.result is not None, outcome.error
    took = _tree_cpu_s() - before, time.monotonic() - start
    shutil.rmtree(out)
    return took


def _tree_cpu_s() -> float:
    here = psutil.Process()
    return sum(map(_cpu_s, [here, *here.children(recursive=True)]))


def _sleeping_workers(scratch: Path) -> list[Row]:
    """CPU seconds per second of the driver and of the scheduler, and how long workers wait between two shards."""
    contact = scratch / "scheduler.json"
    contact.unlink(missing_ok=True)
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(contact)]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *options], stderr=subprocess.DEVNULL
    )
    workers = None
    try:
        while not contact.is_file():
            assert scheduler.poll() is None
            time.sleep(0.1)
        workers = subprocess.Popen([sys.executable, "-m", __name__, str(contact)], cwd=ROOT, stderr=subprocess.DEVNULL)
        with distributed.Client(scheduler_file=str(contact), timeout=60) as client:
            client.wait_for_workers(WORKERS, timeout=120)
        return _rows(json.loads(contact.read_text())["address"], psutil.Process(scheduler.pid))
    finally:
        for process in (workers, scheduler):
            if process is not None:
                process.kill()
                process.wait()


def _rows(address: str, scheduler: psutil.Process) -> list[Row]:
    specs = [_spec(number) for number in range(WORKERS * ROUNDS)]
    given: list[float] = []  # when each was
    periods: dict[int, list[tuple[float, float]]] = defaultdict(list)
    with DaskExecutor(scheduler=address) as executor:
        executor.choose_workers(_describe, choose=list)  # as a build does, which numbers them
        start, before = time.monotonic(), (_cpu_s(psutil.Process()), _cpu_s(scheduler))
        for outcome in executor.run(_sleep, _noting(specs, given)):
            assert outcome.result is not None, outcome.error
            worker, *period = outcome.result
            periods[worker].append(tuple(period))
        took = time.monotonic() - start
        driver, scheduling = (
            (_cpu_s(process) - at) / took for process, at in zip((psutil.Process(), scheduler), before, strict=True)
        )
    assert len(periods) == WORKERS
    gaps = [
        (former[1], later[0] - former[1]) for shards in periods.values() for former, later in pairwise(sorted(shards))
    ]
    waited = max(gap for end, gap in gaps if end < given[-1])
    idle = sum(gap for _, gap in gaps) / sum(shards[-1][1] - shards[0][0] for shards in map(sorted, periods.values()))
    details = f"{len(specs)} shards of {SHARD_S:g} s in {took:.0f} s"
    return [
        Row("workers", f"driver's CPU / a core, {WORKERS} workers", driver, "<= 0.05", details),
        Row("workers", f"scheduler's CPU / a core, {WORKERS} workers", scheduling, "<= 0.05", details),
        Row("workers", "longest wait of a worker while shards are left / a second", waited, "<= 1", details),
        Row("workers", "waits between a worker's shards / time from its first to its last", idle, "<= 0.01", details),
    ]


def _noting(specs: list[ShardSpec], given: list[float]) -> Iterator[ShardSpec]:
    for spec in specs:
        given.append(time.monotonic())
        yield spec


def _spec(number: int) -> ShardSpec:
    """A shard of realistic size: the paths of thirty videos."""
    groups = []
    for group in range(GROUPS):
        name = f"ffpp-real-c23-{number * GROUPS + group:06d}"
        shared = {"dataset": "ffpp", "quality": "c23", "split": "train", "root": "/data/FaceForensics++"}
        real = VideoEntry(
            name, method="real", label=0, path=f"original_sequences/youtube/c23/videos/{name}.mp4", **shared
        )
        fakes = tuple(
            VideoEntry(
                f"{name}-{fake}", method=fake, label=1, path=f"{fake}/c23/videos/{name}.mp4", source_id=name, **shared
            )
            for fake in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
        )
        groups.append(ClipGroup(real, fakes))
    return ShardSpec(f"train-{number:06d}", "train", tuple(groups))


def _describe() -> str:
    return "a worker"


def _sleep(spec: ShardSpec, number: int, threads: int) -> tuple[int, float, float]:
    """Take as long as a shard does, with a message per group; returns worker number, begin and end in seconds."""
    begin = time.monotonic()
    seconds = SHARD_S * random.Random(spec.shard_id).uniform(0.5, 1.5)
    for group in spec.groups:
        time.sleep(seconds / len(spec.groups))
        tell({"group": group.group_id, "videos": 5, "faces": 160, "failures": 0})
    return number, begin, time.monotonic()


async def _work(contact: str) -> None:
    """Run all workers in this process: sleeping takes no CPU."""
    async with AsyncExitStack() as stack:
        options = {"scheduler_file": contact, "nthreads": 1, "dashboard": False}
        workers = [distributed.Worker(name=f"worker-{number}", **options) for number in range(WORKERS)]
        for worker in workers:
            await stack.enter_async_context(worker)
        await asyncio.gather(*(worker.finished() for worker in workers))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    os.nice(5)
    asyncio.run(_work(sys.argv[1]))
