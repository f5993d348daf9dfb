"""The build compared with the usual way, with decoding alone, and by number of workers.

Start-up (processes, imports, loading networks) is not timed on either side.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import clip_groups
from benchmarks.row import Row
from benchmarks.usual_way import decode, load, write_faces
from facemill.manifests import ClipGroup, VideoEntry, locate
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.config.recipe import Recipe, load_recipe

__all__ = ["measure"]

FRAMES = 32
ROUNDS = 2


def measure(scratch: Path, *, device: str, cores: int) -> list[Row]:
    """Measure on clip groups of one real and four fake 720p videos, two groups per core; the best of two rounds."""
    groups = clip_groups(scratch, 2 * cores)
    recipe = load_recipe("default", [f"sample.frames={FRAMES}"])
    ours, timings = _facemill(groups, recipe, scratch, device, cores)
    alone, _ = _facemill(groups, recipe, scratch, device, 1)
    confined, _ = _facemill(groups, recipe, scratch, device, 1, confine=True)
    videos = [video for group in groups for video in group.videos()]
    usual = _pool(partial(_usual_way, scratch / "usual"), load, videos, cores)
    decoding = _pool(_decode, _load_nothing, videos, cores)
    spent = sum(timings.values())
    where = ", ".join(
        f"{stage} {seconds / spent:.0%}" for stage, seconds in sorted(timings.items(), key=lambda s: -s[1])
    )
    target = ">= 10" if device != "cpu" else ">= 5"
    return [
        Row("build", "usual way / ours, time", usual / ours, target, f"{usual:.1f} s / {ours:.1f} s; ours: {where}"),
        Row("build", "ours / decoding alone, time", ours / decoding, "<= 1.6", f"{ours:.1f} s / {decoding:.1f} s"),
        Row(
            "build",
            f"1 worker confined to 1 core / {cores} workers, time",
            confined / ours,
            f">= {0.85 * cores:g}",
            f"{confined:.1f} s / {ours:.1f} s",
        ),
        Row("build", f"1 unconfined worker / {cores} workers, time", alone / ours, "", f"{alone:.1f} s / {ours:.1f} s"),
    ]


def _facemill(
    groups: Sequence[ClipGroup], recipe: Recipe, scratch: Path, device: str, workers: int, confine: bool = False
) -> tuple[float, dict[str, float]]:
    """Seconds to build a shard of each group on warm workers (if `confine`, one core each), in total and by stage."""
    specs = [ShardSpec(f"train-{number:06d}", "train", (group,)) for number, group in enumerate(groups)]
    best, timings = float("inf"), {}
    with DaskExecutor(workers=workers) as executor:
        for _ in executor.run(partial(_warm_up, device, recipe, confine), list(range(4 * workers))):
            pass
        for number in range(ROUNDS):
            out = scratch / "ours" / str(number)
            start = time.perf_counter()
            outcomes = list(executor.run(partial(_build, BuildJob(out, recipe, device=device)), specs))
            seconds = time.perf_counter() - start
            results = [outcome.result for outcome in outcomes if outcome.result is not None]
            assert sum(result.rows for result in results) > 0.9 * FRAMES * 5 * len(groups), outcomes
            if seconds < best:
                stages = sorted(results[0].timings)
                best, timings = seconds, {stage: sum(r.timings.get(stage, 0.0) for r in results) for stage in stages}
            shutil.rmtree(out)
    return best, timings


def _build(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> object:
    from facemill.pipeline.build.shard import build_shard

    return build_shard(spec, job, WorkerSlot(number, threads))


def _warm_up(device: str, recipe: Recipe, confine: bool, task: int, number: int, threads: int) -> None:
    from facemill.pipeline.build.groups import device_of_worker
    from facemill.pipeline.extract.faces import load_detector

    load_detector(recipe.detect, recipe.filter.min_face, device_of_worker(device, number)).detect(
        [np.zeros((360, 640, 3), np.uint8)] * 8
    )
    if confine:
        os.sched_setaffinity(0, {number})  # for this thread and those that it starts
    time.sleep(0.5)  # so that every worker runs one of these tasks


# The usual way ----------------------------------------------------------------------------------------


def _pool(
    work: Callable[[VideoEntry], None], initialise: Callable[[], None], videos: Sequence[VideoEntry], cores: int
) -> float:
    with get_context("spawn").Pool(cores, initialise) as pool:
        pool.map(time.sleep, [1.0] * cores, chunksize=1)  # wait until every process has started
        best = float("inf")
        for _ in range(ROUNDS):
            start = time.perf_counter()
            pool.map(work, videos, chunksize=1)
            best = min(best, time.perf_counter() - start)
    return best


def _load_nothing() -> None:
    cv2.setNumThreads(1)


def _usual_way(out: Path, video: VideoEntry) -> None:
    """Process one video by itself, with OpenCV's decoder."""
    capture = cv2.VideoCapture(locate(video.root, video.path))
    write_faces(out / video.video_id, _evenly_spaced(capture))
    capture.release()


def _evenly_spaced(capture: cv2.VideoCapture) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())
    for index in range(count):
        if not capture.grab():
            break
        if index in wanted:
            yield index, cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def _decode(video: VideoEntry) -> None:
    decode(Path(locate(video.root, video.path)))
