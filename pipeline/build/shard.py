"""Building one shard: the unit of work, of commit and of retry. Free of Dask."""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import torch

from facemill import FacemillError
from facemill.manifests import ClipGroup, FailureRecord, FrameFaces, Reason, SampleRecord, Stage, schemas
from facemill.manifests.shards.dataset import STATE_FOLDER
from facemill.manifests.shards import SHARD_FORMATS, ShardWriter
from facemill.manifests.storage import atomic_path
from facemill.pipeline.extract.faces import KnownFaces, load_detector, load_faces
from facemill.pipeline.build.plan import BuildJob, ShardSpec, Slot
from facemill.pipeline.extract.process import ClipResult, Tools, process_clip
from facemill.pipeline.extract.prefetch import BrokenGroup, Prefetch
from facemill.pipeline.build.state import ShardFile, ShardResult, load_result, save_result
from facemill.pipeline.extract.stopwatch import Stopwatch

__all__ = ["build_shard", "clip_results", "resolve_device"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BLOCK_BYTES = 32 << 20
"""Blocks up to this size stay with the process: what glibc arrives at by itself where nobody interferes."""
NOBODYS_FAULT = (FacemillError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""No video's fault: a missing weights file, a GPU that fell ill. The shard is tried again, or the run ends."""


def build_shard(spec: ShardSpec, job: BuildJob, slot: Slot | None = None) -> ShardResult:
    """Build a shard and commit it; a shard that is committed and whole is left as it is.

    Its files are written under temporary names and renamed when they are complete; the result, written
    last, is the commit mark. Equal work gives equal bytes.

    Raises:
        FacemillError: for what is no video's fault, such as missing weights.
    """
    fingerprint = spec.fingerprint(job.recipe)
    done = load_result(job.out, spec.shard_id, fingerprint)
    if done is not None:
        return done
    known = _known_faces(spec, job)
    shard_format = SHARD_FORMATS[job.recipe.shards.format]
    shard = f"{spec.split}/{spec.shard_id}{shard_format.suffix}"
    records = _Records()
    watch = Stopwatch()
    with atomic_path(job.out / shard) as temporary, shard_format.open_writer(temporary, shard) as writer:
        for part in clip_results(spec, job, slot or Slot(), known, watch):
            with watch("write"):
                records.add(part, writer)
    result = records.commit(spec, job.out, shard, fingerprint, watch)
    save_result(job.out, result)
    return result


def clip_results(
    spec: ShardSpec, job: BuildJob, slot: Slot, known: KnownFaces, watch: Stopwatch
) -> Iterator[ClipResult]:
    """Process a shard's clip groups in order. Whatever breaks is a failure of the videos concerned."""
    _settle_process()
    detector = partial(load_detector, job.recipe.detect, resolve_device(job.device, slot.number))
    with ThreadPoolExecutor(1, "encode") as encoders:
        tools = Tools(job.recipe, detector, known, encoders, watch)
        healthy, poisoned = _without_poison(spec)
        yield ClipResult([], [], poisoned)
        with Prefetch(healthy, job.recipe, slot.threads) as stream:
            for item in stream:
                if isinstance(item, FailureRecord):
                    yield ClipResult([], [], [item])
                elif isinstance(item, BrokenGroup):
                    video_ids = [video.video_id for video in item.group.videos()]
                    yield ClipResult([], [], _internal_errors(video_ids, item.error))
                else:
                    clip, items = item
                    try:
                        yield process_clip(clip, items, tools)
                    except NOBODYS_FAULT:
                        raise
                    except Exception as error:
                        video_ids = [video.video_id for video in clip.videos]
                        yield ClipResult([], [], _internal_errors(video_ids, error))
                    for _ in items:
                        pass  # what is left of a clip that broke
        watch.merge(stream.watch)


def _without_poison(spec: ShardSpec) -> tuple[list[ClipGroup], list[FailureRecord]]:
    """A shard's groups less the videos that kill workers, and the failures that say so."""
    groups, failures = [], []
    for group in spec.groups:
        failures += [
            FailureRecord(
                video.video_id,
                Stage.PROCESS,
                Reason.WORKER_KILLED,
                "The process that reads this video is killed by it.",
            )
            for video in group.videos()
            if video.video_id in spec.poisonous
        ]
        if (healthy := group.without(spec.poisonous)) is not None:
            groups.append(healthy)
    return groups, failures


class _Records:
    """What a shard has given so far, but for pictures, which are written at once."""

    def __init__(self) -> None:
        self.samples: list[SampleRecord] = []
        self.faces: list[FrameFaces] = []
        self.failures: list[FailureRecord] = []

    def add(self, result: ClipResult, writer: ShardWriter) -> None:
        self.samples += [writer.write(sample) for sample in result.samples]
        self.faces += result.faces
        self.failures += result.failures

    def commit(self, spec: ShardSpec, out: Path, shard: str, fingerprint: str, watch: Stopwatch) -> ShardResult:
        """Write the tables beside the finished shard and describe all of it."""
        with watch("write"):
            tables = {
                f"{STATE_FOLDER}/{spec.shard_id}.samples.parquet": schemas.to_table(self.samples, schemas.SAMPLES),
                f"{STATE_FOLDER}/{spec.shard_id}.faces.parquet": schemas.to_table(self.faces, schemas.FACES),
            }
            for name, table in tables.items():
                with atomic_path(out / name) as temporary:
                    pq.write_table(table, temporary)
            samples, faces = (ShardFile.of(out, name, len(table)) for name, table in tables.items())
            if not self.samples:
                (out / shard).unlink()
        return ShardResult(
            shard_id=spec.shard_id,
            split=spec.split,
            fingerprint=fingerprint,
            shard=ShardFile.of(out, shard, len(self.samples)) if self.samples else None,
            samples=samples,
            faces=faces,
            videos=len(spec.sampled_ids),
            barren=len(spec.sampled_ids - {record.video_id for record in self.samples}),
            failures=tuple(self.failures),
            timings=dict(watch.seconds),
        )


def _known_faces(spec: ShardSpec, job: BuildJob) -> KnownFaces:
    if job.faces is None:
        return {}
    return load_faces(job.faces, spec.video_ids, spec.shard_id)


def _internal_errors(video_ids: list[str], error: Exception) -> list[FailureRecord]:
    message = f"facemill itself failed on this clip group ({type(error).__name__}: {error}): please report it."
    return [FailureRecord(video_id, Stage.PROCESS, Reason.INTERNAL_ERROR, message) for video_id in video_ids]


def _settle_process() -> None:
    """Make this process a worker: one thread for torch and OpenCV, and freed memory kept for the next frame.

    Workers share the cores, and sums must not depend on the number of threads. Dask has its workers give
    freed memory back at once; fetching it again, page by page, made face detection five times slower.
    """
    with suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BLOCK_BYTES)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def resolve_device(device: str, slot_number: int) -> str:
    """The device of a worker: `auto` and `cuda` deal the workers out over the GPUs."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        return f"cuda:{slot_number % max(1, torch.cuda.device_count())}"
    return device
