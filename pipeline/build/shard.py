"""Building one shard: the unit of work, of commit and of retry. Free of Dask."""

import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import torch

from facemill import FacemillError, VideoError
from facemill.detectors.device import resolve_device
from facemill.manifests import (
    ClipGroup,
    FailureRecord,
    FrameFaces,
    Reason,
    SampleRecord,
    Stage,
    VideoEntry,
    VideoFacts,
    check_roots,
    schemas,
)
from facemill.manifests.annotations import Annotations, samples_schema
from facemill.manifests.blame import reason_of_error
from facemill.manifests.records import Fault
from facemill.manifests.shards import ShardWriter
from facemill.manifests.shards.dataset import DATASET_FILE, FACES_FILE, SAMPLES_FILE, state_path
from facemill.manifests.storage import atomic_path, sha256_of
from facemill.pipeline.build.claim import check_running
from facemill.pipeline.build.earlier import EarlierShard
from facemill.pipeline.build.isolate import isolated_results
from facemill.pipeline.build.plan import BuildJob, ShardSpec, Slot
from facemill.pipeline.build.state import GroupDone, ShardFile, ShardResult, load_result, save_result
from facemill.pipeline.clips.clip import ClipItem, FakeRead
from facemill.pipeline.clips.prefetch import BrokenGroup, Prefetch
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.extract.annotators import create_annotators, declared
from facemill.pipeline.extract.faces import load_detector
from facemill.pipeline.extract.known_faces import open_faces
from facemill.pipeline.extract.process import ClipResult, Tools, process_clip
from facemill.registry import SHARD_FORMATS

__all__ = ["build_shard", "clip_results", "device_of_worker", "merged"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BLOCK_BYTES = 32 << 20
"""Blocks up to this size stay with the process: what glibc arrives at by itself where nobody interferes."""
MUCH_BYTES = 1 << 30


def build_shard(
    spec: ShardSpec, job: BuildJob, slot: Slot | None = None, tell: Callable[[GroupDone], None] = lambda done: None
) -> ShardResult:
    """Build a shard and commit it; a shard whose committed result is final is left as it is.

    Of a shard that was committed before, only groups are processed anew in which something is damaged or to be
    tried again. What is good of a group stays where the environment has since taken its videos away.

    Its files are written under temporary names and renamed when they are complete; the result, written
    last, is the commit mark. Equal work gives equal bytes.

    Args:
        tell: called after each group that was processed.

    Raises:
        FacemillError: for what is no video's fault, such as missing weights, a missing root, or a stop of the build.
    """
    fingerprint = spec.fingerprint(job.work)
    before = load_result(job.out, spec.shard_id, fingerprint)
    if before is not None and before.is_final(job.out, retry_failed=job.retry_failed, thorough=job.thorough):
        return before
    shard_format = SHARD_FORMATS[job.recipe.shards.format]
    shard = f"{spec.split}/{spec.shard_id}{shard_format.suffix}"
    annotations = declared(create_annotators(job.recipe.annotate))
    records = _Records(annotations)
    watch = Stopwatch()
    changed = False
    with suppress(_Unchanged), atomic_path(job.out / shard) as temporary:
        with shard_format.open_writer(temporary, shard, annotations) as writer:
            for part in _results(spec, job, slot or Slot(), before, watch, tell):
                with watch("write"):
                    records.add(part, writer)
                check_running(job.out, job.run)
        if before is not None and before.is_whole(job.out) and records.equal(before, temporary):
            raise _Unchanged
        (job.out / DATASET_FILE).unlink(missing_ok=True)  # it says that a dataset is whole
        changed = True
    if before is not None and not changed:
        return before
    result = records.commit(spec, job, shard, fingerprint, watch)
    save_result(job.out, result)
    return result


class _Unchanged(Exception):  # noqa: N818, no error: it keeps a new file from replacing an equal one
    pass


def _results(
    spec: ShardSpec,
    job: BuildJob,
    slot: Slot,
    before: ShardResult | None,
    watch: Stopwatch,
    tell: Callable[[GroupDone], None],
) -> Iterator[ClipResult]:
    """The result of each group, in order: new, or what an earlier run has of it."""
    earlier = None if before is None else EarlierShard(job.out, before, job.recipe.encode.format)
    groups = [g for g in spec.groups if earlier is None or not earlier.is_final(g, retry_failed=job.retry_failed)]
    check_roots(video for group in groups for video in group.videos())
    anew = replace(spec, groups=tuple(groups))
    stream = isolated_results(anew, job) if spec.isolated else clip_results(anew, job, slot, watch)
    made = groupby(stream, key=itemgetter(0))
    wanted = {group.group_id for group in groups}
    for group in spec.groups:
        if earlier is not None and group.group_id not in wanted:
            yield earlier.result(group)
            continue
        _, parts = next(made)
        result = merged(part for _, part in parts)
        tell(_group_done(spec, group, result))
        yield result if earlier is None else earlier.better(group, result)


def clip_results(spec: ShardSpec, job: BuildJob, slot: Slot, watch: Stopwatch) -> Iterator[tuple[str, ClipResult]]:
    """Process a shard's clip groups in order; yields what each gives, in one part or several, with the group's id.

    Whatever breaks is a failure of the videos concerned.
    """
    group_of = {video.video_id: group.group_id for group in spec.groups for video in group.videos()}
    detector = partial(
        load_detector, job.recipe.detect, job.recipe.filter.min_face, device_of_worker(job.device, slot.number)
    )
    with _settled(), ThreadPoolExecutor(1, "encode") as encoders:
        known = None if job.faces is None else open_faces(job.faces)
        tools = Tools(job.recipe, detector, known, job.work.detection, encoders, watch)
        with Prefetch(spec.groups, job.recipe, slot.threads) as stream:
            for item in stream:
                if isinstance(item, FailureRecord):
                    yield group_of[item.video_id], ClipResult([], [], [item])
                elif isinstance(item, BrokenGroup):
                    yield item.group.group_id, _broken(list(item.group.videos()), item.error)
                else:
                    clip, items = item[0], _giving_back(item[1])
                    videos = [video.entry for video in clip.videos]
                    try:
                        result = process_clip(clip, items, tools)
                    except Exception as error:
                        result = _broken(videos, error)
                    yield group_of[videos[0].video_id], result
                    for _ in items:
                        pass  # what is left of a clip that broke
        watch.merge(stream.watch)


def merged(parts: Iterable[ClipResult]) -> ClipResult:
    """Several parts of a group as one."""
    whole = ClipResult([], [], [])
    for part in parts:
        whole.samples += part.samples
        whole.faces += part.faces
        whole.failures += part.failures
        whole.facts += part.facts
    return whole


def _broken(videos: Sequence[VideoEntry], error: Exception) -> ClipResult:
    """The failures of videos in which an exception came up, by whose fault it is.

    Raises:
        FacemillError: the exception itself, where it is no video's fault and ends the run.
    """
    if isinstance(error, VideoError):
        reason, message = Reason(error.reason), error.message
    elif isinstance(error, FacemillError | torch.AcceleratorError):  # missing weights, a GPU that fell ill
        raise error
    else:
        fault = f"{type(error).__name__}: {error}"
        reason = reason_of_error(error) or Reason.INTERNAL_ERROR
        whose = "facemill itself" if reason is Reason.INTERNAL_ERROR else "The system"
        advice = "please report it" if reason is Reason.INTERNAL_ERROR else "it is tried again by the same command"
        message = f"{whose} failed on this clip group ({fault}): {advice}."
    return ClipResult([], [], [FailureRecord(video.video_id, Stage.PROCESS, reason, message) for video in videos])


def _group_done(spec: ShardSpec, group: ClipGroup, result: ClipResult) -> GroupDone:
    sampled = {sample.record.video_id for sample in result.samples}
    blocked = {
        failure.video_id: (failure.reason.value, failure.message)
        for failure in result.failures
        if failure.reason.fault is Fault.ENVIRONMENT and failure.video_id not in sampled
    }
    videos = sum(1 for _ in group.sampled())
    return GroupDone(spec.shard_id, videos, len(result.samples), len(result.failures), tuple(blocked.values()))


class _Records:
    """What a shard has given so far, but for pictures, which are written at once."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.samples: list[SampleRecord] = []
        self.faces: list[FrameFaces] = []
        self.failures: list[FailureRecord] = []
        self.facts: list[VideoFacts] = []

    def add(self, result: ClipResult, writer: ShardWriter) -> None:
        self.samples += [writer.write(sample) for sample in result.samples]
        self.faces += result.faces
        self.failures += result.failures
        self.facts += result.facts

    def equal(self, before: ShardResult, shard: Path) -> bool:
        """Whether an earlier run came to the same: its failures, and its shard byte for byte."""
        same = tuple(self.failures) == before.failures and len(self.samples) == before.rows
        return same and (before.shard is None or sha256_of(shard) == before.shard.sha256)

    def commit(self, spec: ShardSpec, job: BuildJob, shard: str, fingerprint: str, watch: Stopwatch) -> ShardResult:
        """Write the tables beside the finished shard and describe all of it."""
        out = job.out
        with watch("write"):
            tables = {
                state_path(spec.shard_id, SAMPLES_FILE): schemas.to_table(
                    self.samples, samples_schema(self.annotations)
                ),
                state_path(spec.shard_id, FACES_FILE): schemas.to_table(self.faces, schemas.FACES),
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
            identity=job.work.digest,
            shard=ShardFile.of(out, shard, len(self.samples)) if self.samples else None,
            samples=samples,
            faces=faces,
            videos=len(spec.sampled_ids),
            barren=len(spec.sampled_ids - {record.video_id for record in self.samples}),
            failures=tuple(self.failures),
            timings=dict(watch.seconds),
            facts=tuple(self.facts),
        )


def _giving_back(items: Iterator[ClipItem]) -> Iterator[ClipItem]:
    """The items of a clip; what a fake has left of free memory, in pieces, goes back to the system where it is much."""
    for item in items:
        yield item
        if isinstance(item, FakeRead):
            with suppress(AttributeError, OSError):  # not glibc
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                if pages * mmap.PAGESIZE > MUCH_BYTES:
                    ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _settled() -> Iterator[None]:
    """Inside, this process is a worker: one thread for torch and OpenCV, and freed memory kept for the next frame.

    Workers share the cores, and sums must not depend on the number of threads. Dask has its workers give
    freed memory back at once; fetching it again, page by page, made face detection five times slower.
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
    """The device of a worker: `auto` and `cuda` deal the workers out over the GPUs."""
    resolved = resolve_device(device)
    if device in ("auto", "cuda") and resolved.type == "cuda":
        return f"cuda:{slot_number % torch.cuda.device_count()}"
    return str(resolved)
