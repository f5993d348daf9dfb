"""Processing the clip groups of a shard in order: the part of a build that needs torch."""

import ctypes
import mmap
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import torch

from facemill import FacemillError, VideoError
from facemill.detectors.device import resolve_device
from facemill.detectors.face import FaceDetector
from facemill.manifests import FailureRecord, Reason, Stage, VideoEntry
from facemill.manifests.blame import reason_of_error
from facemill.pipeline.build.gpu_load import GpuSampler, command_for
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.clips.items import ClipItem, FakeRead
from facemill.pipeline.clips.prefetch import BrokenGroup, Prefetch
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.extract.faces import load_detector
from facemill.pipeline.extract.known_faces import open_faces
from facemill.pipeline.extract.process import WorkerResources, process_clip
from facemill.pipeline.extract.result import ClipResult, DeviceUse

__all__ = ["clip_results", "device_of_worker"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BLOCK_BYTES = 32 << 20
"""Freed blocks up to this size stay with the process: the value that glibc reaches by itself by default."""
TRIM_ABOVE_BYTES = 5 << 28
"""Groups of 720p stay below it, and keep their memory; those of 1080p have the same peak as with less."""


def clip_results(
    spec: ShardSpec, job: BuildJob, slot: WorkerSlot, watch: Stopwatch
) -> Iterator[tuple[str, ClipResult]]:
    """Process a shard's clip groups in order; yields each group's id and result, in one or more parts.

    An exception becomes a failure of the videos that were being processed.
    """
    group_of = {video.video_id: group.group_id for group in spec.groups for video in group.videos()}
    device = device_of_worker(job.device, slot.number)
    loaded: list[FaceDetector] = []
    seen: list[int] = []

    def detector() -> FaceDetector:
        if not loaded:
            loaded.append(load_detector(job.recipe.detect, job.recipe.filter.min_face, device))
            seen.append(loaded[0].halvings)  # of earlier shards, since the process keeps its detector
        return loaded[0]

    load = GpuSampler(command_for(device))
    with _worker_settings(), load, ThreadPoolExecutor(1, "encode") as encoders:
        known = None if job.faces is None else open_faces(job.faces)
        tools = WorkerResources(job.recipe, detector, known, job.work.detection, encoders, watch)
        with Prefetch(spec.groups, job.recipe, slot.threads, watch.on_stage, device) as stream:
            for item in stream:
                if isinstance(item, FailureRecord):
                    yield group_of[item.video_id], ClipResult([], [], [item])
                elif isinstance(item, BrokenGroup):
                    yield item.group.group_id, _broken(list(item.group.videos()), item.error)
                else:
                    clip, items = item[0], _trimming_memory(item[1])
                    videos = [video.entry for video in clip.videos]
                    try:
                        result = process_clip(clip, items, tools)
                    except Exception as error:
                        result = _broken(videos, error)
                    halvings = loaded[0].halvings - seen[0] if loaded else 0
                    seen[:] = [each.halvings for each in loaded]
                    on_cpu = {video.video_id: video.on_cpu for video in clip.videos if video.on_cpu}
                    result.devices = {f"{platform.node()} {device}": DeviceUse(1, halvings, on_cpu, *load.take())}
                    yield group_of[videos[0].video_id], result
                    for _ in items:
                        pass  # skip the remaining items of a clip that failed
        watch.merge(stream.watch)


def _broken(videos: Sequence[VideoEntry], error: Exception) -> ClipResult:
    """Convert an exception to a failure of each video, classified by cause.

    Raises:
        FacemillError: the exception itself, if it is not caused by a video and must end the run.
    """
    if isinstance(error, VideoError):
        reason, message = Reason(error.reason), error.message
    elif isinstance(error, FacemillError | torch.AcceleratorError):  # missing weights, a failing GPU
        raise error
    else:
        fault = f"{type(error).__name__}: {error}"
        reason = reason_of_error(error) or Reason.INTERNAL_ERROR
        whose = "facemill itself" if reason is Reason.INTERNAL_ERROR else "The system"
        advice = "please report it" if reason is Reason.INTERNAL_ERROR else "the same command tries it again"
        message = f"{whose} failed on this clip group ({fault}): {advice}."
    return ClipResult([], [], [FailureRecord(video.video_id, Stage.PROCESS, reason, message) for video in videos])


def _trimming_memory(items: Iterator[ClipItem]) -> Iterator[ClipItem]:
    """Yield the items of a clip; after each fake, a process with much memory returns free blocks to the system."""
    for item in items:
        read = isinstance(item, FakeRead)
        yield item
        del item
        if read:
            with suppress(AttributeError, OSError):  # not glibc
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                if pages * mmap.PAGESIZE > TRIM_ABOVE_BYTES:
                    ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _worker_settings() -> Iterator[None]:
    """Configure this process as a worker: one thread for torch and OpenCV, and freed memory kept for the next frame.

    Workers share the cores, and sums must not depend on the number of threads. Dask makes its workers return freed
    memory to the system at once; getting it back page by page made face detection five times slower.
    """
    with suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BLOCK_BYTES)
    cudnn = torch.backends.cudnn
    before = cv2.getNumThreads(), torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
        cudnn.deterministic, cudnn.benchmark = before[2:]


def device_of_worker(device: str, slot_number: int) -> str:
    """The device of a worker: `auto` and `cuda` distribute the workers over the GPUs."""
    resolved = resolve_device(device)
    if device in ("auto", "cuda") and resolved.type == "cuda":
        return f"cuda:{slot_number % torch.cuda.device_count()}"
    return str(resolved)
