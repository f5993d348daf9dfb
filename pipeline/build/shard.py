"""Building one shard, the unit of layout and of commit. Does not import Dask, nor torch if groups are isolated."""

import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow.parquet as pq

from facemill import ConfigError
from facemill.manifests import ClipGroup, FailureRecord, FrameFaces, SampleRecord, VideoFacts, check_roots, schemas
from facemill.manifests.annotations import Annotations
from facemill.manifests.codes import Fault
from facemill.manifests.shards import ShardWriter, listing
from facemill.manifests.shards.dataset import DATASET_FILE, FACES_FILE, FACTS_FILE, SAMPLES_FILE, state_path
from facemill.manifests.storage import atomic_path, sha256_of
from facemill.pipeline.build.beats import Beat
from facemill.pipeline.build.earlier import EarlierShard
from facemill.pipeline.build.isolate import deaths_file, isolated_results
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.build.run_folder import attempt, check_running
from facemill.pipeline.build.state import GroupDone, ShardFile, ShardResult, load_result, save_result
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.extract.annotators import create_annotators, declared
from facemill.pipeline.extract.result import ClipResult, DeviceUse, add_uses, merged
from facemill.registry import SHARD_FORMATS

__all__ = ["build_shard"]

Tell = Callable[[GroupDone], None]


def build_shard(
    spec: ShardSpec, job: BuildJob, slot: WorkerSlot | None = None, tell: Tell = lambda done: None
) -> ShardResult:
    """Build a shard and commit it; a shard whose committed result is final is left unchanged.

    If the shard was committed before, only groups with damaged samples or with failures to retry are processed
    again. Good samples of a group are kept if its videos have become unavailable since.

    Files are written under temporary names and renamed once complete; the result, written last, marks the
    commit. Equal work gives equal bytes.

    Args:
        tell: called after each group that was processed.

    Raises:
        FacemillError: for faults that no video causes, such as missing weights, a missing root, or a stopped build.
    """
    with attempt(job.out, job.run, spec.shard_id) as folder, Beat(folder, spec) as beat:

        def done(group: GroupDone) -> None:
            beat.group(group)
            tell(group)

        return _build(spec, job, slot or WorkerSlot(), folder, Stopwatch(beat.stage), done)


def _build(spec: ShardSpec, job: BuildJob, slot: WorkerSlot, folder: Path, watch: Stopwatch, tell: Tell) -> ShardResult:
    fingerprint = spec.fingerprint(job.work)
    before = load_result(job.out, spec.shard_id, fingerprint)
    if before is not None and before.is_final(job.out, retry_failed=job.retry_failed, thorough=job.thorough):
        return before
    shard_format = SHARD_FORMATS[job.recipe.shards.format]
    shard = f"{spec.split}/{spec.shard_id}{shard_format.suffix}"
    annotations = declared(create_annotators(job.recipe.annotate))
    records = _Records(annotations, {} if before is None else before.devices)
    changed = False
    with suppress(_Unchanged), atomic_path(job.out / shard) as temporary:
        with shard_format.open_writer(temporary, shard, annotations) as writer:
            for part in _results(spec, job, slot, before, watch, tell):
                with watch("write"):
                    records.add(part, writer)
                _check_in_hand(spec, job, folder)
        if before is not None and before.is_whole(job.out) and records.equal(before, temporary):
            raise _Unchanged
        _move_away(job.out / DATASET_FILE, folder)  # it marks the dataset as complete
        changed = True
    if before is not None and not changed:
        return before
    result = records.commit(spec, job, shard, fingerprint, watch, folder)
    save_result(job.out, result)
    deaths_file(job.out, spec.shard_id).unlink(missing_ok=True)
    return result


def _check_in_hand(spec: ShardSpec, job: BuildJob, folder: Path) -> None:
    """See that the run goes on, and that no other worker was given this shard."""
    check_running(job.out, job.run)
    if not folder.is_dir():
        raise RuntimeError(f"another worker has taken over the shard {spec.shard_id}")


def _move_away(path: Path, folder: Path) -> None:
    """Remove a file from the dataset, unless the attempt is over: then nothing may be removed any more."""
    with suppress(FileNotFoundError):
        path.replace(folder / path.name)


class _Unchanged(Exception):  # noqa: N818, not an error: it keeps a new file from replacing an equal one
    pass


def _results(
    spec: ShardSpec, job: BuildJob, slot: WorkerSlot, before: ShardResult | None, watch: Stopwatch, tell: Tell
) -> Iterator[ClipResult]:
    """Yield the result of each group, in order: a new one, or that of an earlier run."""
    earlier = None if before is None else EarlierShard(job.out, before, job.recipe.encode.format)
    groups = [g for g in spec.groups if earlier is None or not earlier.is_final(g, retry_failed=job.retry_failed)]
    check_roots(video for group in groups for video in group.videos())
    anew = replace(spec, groups=tuple(groups))
    if spec.isolated:
        stream = isolated_results(anew, job, slot, watch.on_stage)
    else:
        try:
            from facemill.pipeline.build.groups import clip_results  # not at the top: isolation must not need torch
        except (ImportError, MemoryError, OSError) as error:  # tried again, torch would tell another error
            raise ConfigError(
                f"A worker on {platform.node()} cannot load its libraries ({error}): give it more memory, or install "
                "them again."
            ) from error

        stream = clip_results(anew, job, slot, watch)
    made = groupby(stream, key=itemgetter(0))
    wanted = {group.group_id for group in groups}
    for group in spec.groups:
        if earlier is not None and group.group_id not in wanted:
            yield earlier.result(group)
            continue
        _, parts = next(made)
        result = merged(part for _, part in parts)
        result = result if earlier is None else earlier.better(group, result)
        tell(_group_done(spec, group, result))
        yield result


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
    """Records of a shard so far; images are not kept, since they are written at once."""

    def __init__(self, annotations: Annotations, devices: dict[str, DeviceUse]) -> None:
        self.annotations = annotations
        self.devices = devices
        self.samples: list[SampleRecord] = []
        self.faces: list[FrameFaces] = []
        self.failures: list[FailureRecord] = []
        self.facts: list[VideoFacts] = []

    def add(self, result: ClipResult, writer: ShardWriter) -> None:
        self.samples += [writer.write(sample) for sample in result.samples]
        self.faces += result.faces
        self.failures += result.failures
        self.facts += result.facts
        self.devices = add_uses(self.devices, result.devices)

    def equal(self, before: ShardResult, shard: Path) -> bool:
        """Whether an earlier run gave the same failures and the same shard, byte for byte."""
        same = tuple(self.failures) == before.failures and len(self.samples) == before.rows
        return same and (before.shard is None or sha256_of(shard) == before.shard.sha256)

    def commit(
        self, spec: ShardSpec, job: BuildJob, shard: str, fingerprint: str, watch: Stopwatch, folder: Path
    ) -> ShardResult:
        """Write the tables of the finished shard, and return its result."""
        out = job.out
        with watch("write"):
            tables = {
                state_path(spec.shard_id, SAMPLES_FILE): listing(out / shard, self.samples, self.annotations),
                state_path(spec.shard_id, FACES_FILE): schemas.to_table(self.faces, schemas.FACES),
                state_path(spec.shard_id, FACTS_FILE): schemas.to_table(self.facts, schemas.FACTS),
            }
            for name, table in tables.items():
                with atomic_path(out / name) as temporary:
                    pq.write_table(table, temporary)
            samples, faces, facts = (ShardFile.of(out, name, len(table)) for name, table in tables.items())
            if not self.samples:
                _move_away(out / shard, folder)
        return ShardResult(
            shard_id=spec.shard_id,
            split=spec.split,
            fingerprint=fingerprint,
            identity=job.work.digest,
            shard=ShardFile.of(out, shard, len(self.samples)) if self.samples else None,
            samples=samples,
            faces=faces,
            facts=facts,
            videos=len(spec.sampled_ids),
            videos_without_samples=len(spec.sampled_ids - {record.video_id for record in self.samples}),
            failures=tuple(self.failures),
            timings=dict(watch.seconds),
            devices=self.devices,
        )
