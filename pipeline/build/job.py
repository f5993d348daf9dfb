"""The build: from a manifest and a recipe to a dataset of face crops. It resumes after an interruption at any point."""

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from facemill import ConfigError, DatasetError, FacemillError
from facemill.manifests import VideoEntry, group_clips, read_videos, write_videos
from facemill.manifests.exclusion import refuse_unknown, sampled_rest, video_of
from facemill.manifests.shards.dataset import DATASET_FILE, FACES_FILE, STATE_FOLDER, VIDEOS_FILE
from facemill.manifests.storage import write_atomically
from facemill.manifests.validation import check
from facemill.manifests.videos import manifest_digest
from facemill.pipeline.build.beats import progress_of
from facemill.pipeline.build.claim import recorded, settle
from facemill.pipeline.build.early_stop import EarlyStop
from facemill.pipeline.build.executors import Certificates, Executor, Outcome, tell
from facemill.pipeline.build.identity import WorkIdentity, detection_values, differences, has_gpu
from facemill.pipeline.build.isolate import deaths_of
from facemill.pipeline.build.merge import BuildReport, report_of
from facemill.pipeline.build.output import (
    build_at,
    check_held,
    end_work,
    merge_at,
    place_of,
    publish_claim,
    run_place,
    taken,
)
from facemill.pipeline.build.patience import Limits
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot, plan_framing, plan_shards
from facemill.pipeline.build.state import PLAN_FILE, GroupDone, ShardResult, load_result
from facemill.pipeline.build.workers import check_workers
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.extract.known_faces import open_faces
from facemill.registry import EXECUTORS

__all__ = ["BuildReport", "Watcher", "build", "finish_build"]

Result = TypeVar("Result")


class Watcher:
    """Receives the progress of a build; this base class ignores it."""

    def begin(self, videos: int) -> None:
        """Called once, with the total number of videos."""

    def note(self, line: str) -> None:
        """Called with information that helps to monitor the build."""

    def warn(self, line: str) -> None:
        """Called with a warning for the user that does not end the build."""

    def group(self, done: GroupDone) -> None:
        """Called when a worker has finished a clip group."""

    def shard(self, result: ShardResult, *, built: bool) -> None:
        """Called when a shard is committed, by this run (`built`) or by an earlier one."""


def build(
    videos: str | Path | Sequence[VideoEntry],
    recipe: Recipe,
    out: str | Path,
    *,
    executor: str = "dask",
    workers: int | None = None,
    scheduler: str | None = None,
    certificates: Certificates | None = None,
    device: str = "auto",
    faces: str | Path | None = None,
    part: tuple[int, int] | None = None,
    performance_report: str | Path | None = None,
    retry_failed: bool = False,
    limits: Limits | None = None,
    watcher: Watcher | None = None,
) -> BuildReport:
    """Build a dataset of face crops; call it again with the same arguments to resume a build that was killed.

    Examples:
        >>> recipe = facemill.load_recipe("default", ["sample.frames=4"])
        >>> report = facemill.build("videos.parquet", recipe, "shards", executor="sequential")
        >>> report.failures
        0

    Args:
        videos: a manifest, or its entries.
        out: the dataset's folder, which every worker must see under this path; or an fsspec URL, such as
            `s3://bucket/faces`, for which every worker needs the credentials.
        executor: a name in `registry.EXECUTORS`.
        workers, scheduler, certificates, performance_report: that executor's arguments.
        device: see `BuildJob`.
        faces: folder of an earlier build whose detections are reused.
        part: (3, 16) builds the third of 16 equal parts of the shards and merges nothing: 16 such calls, at any
            times and on any machines that see `out`, then `finish_build`, give the same as one call without `part`.
        retry_failed: also retry shards in which a video failed by its own fault.
        limits: how long to wait for what may never answer; None for the defaults.
        watcher: receives the progress.

    Returns:
        Report on the build, or on this part of it.

    Raises:
        ManifestError: the manifest cannot be read or is invalid.
        ConfigError: `out` holds another build or cannot be written to, another run is active there, the scheduler
            cannot be reached, or most of the first videos fail for the same fault of the environment.
        ClusterError: the scheduler or all workers are lost, or another run has taken `out` over.
        DetectorError: the detector's weights are missing.
        DatasetError: `faces` cannot be read, a shard fails repeatedly through no fault of a video, or the disk or the
            server of `out` fails.
    """
    place, faces = place_of(out), None if faces is None else Path(faces).absolute()
    entries = _entries(videos)
    if faces is not None and not (faces / FACES_FILE).is_file():
        raise DatasetError(f"There is no {faces / FACES_FILE}: give --faces the folder of a finished build.")
    watcher, limits = watcher or Watcher(), limits or Limits()
    recipe, notes, specs = _planned(entries, recipe)
    plan = json.dumps({"shards": len(specs), "videos": sum(len(spec.sampled_ids) for spec in specs)})
    shards = [spec.shard_id for spec in specs]
    if part is not None:
        specs = _share(specs, *part)
    count = sum(len(spec.sampled_ids) for spec in specs)
    runner = EXECUTORS[executor](
        workers=workers,
        scheduler=scheduler,
        gpus=_count_gpus(device),
        performance_report=performance_report,
        **({} if certificates is None else {"certificates": certificates}),
    )
    identity = WorkIdentity.here(recipe, device)
    claimed = _claimed(entries, identity)
    with taken(place, claimed, shards, shared=part is not None, warn=watcher.warn) as (folder, run):
        heard: Counter[str] = Counter()  # behind a URL, workers' steps are not seen, only groups that are done
        early_stop = EarlyStop(count)

        def hear(message: dict[str, Any]) -> None:
            done = GroupDone(**message)
            heard[done.shard_id] += 1
            watcher.group(done)
            early_stop(done)

        runner.watch(limits, watcher.warn, lambda spec: (heard[spec.shard_id], progress_of(folder, run, spec.shard_id)))
        write_atomically(folder / STATE_FOLDER / PLAN_FILE, plan.encode())
        write_videos(entries, folder / VIDEOS_FILE, places=False)
        watcher.begin(count)
        for note in notes:
            watcher.warn(note)
        results: dict[str, ShardResult] = {}
        with runner:
            if runner.dashboard is not None:
                watcher.note(f"Dask's dashboard: {runner.dashboard}")
            identity = check_workers(runner, identity, device, entries, recipe, run_place(place, run), watcher.warn)
            settle(folder, identity.values())
            publish_claim(place, folder)
            if faces is not None:
                faces = _fitting_faces(faces, identity, watcher)
            work = BuildJob(folder, recipe, faces, device, retry_failed, run, identity)
            store = None if isinstance(place, Path) else place
            finished = (folder / DATASET_FILE).exists()  # then every byte is checked, to repair it, not to resume it
            job = replace(work, thorough=finished, stall_s=limits.stall_s, store=store)
            for result, built in _run(runner, specs, job, hear):
                results[result.shard_id] = result
                check_held(place, run)
                watcher.shard(result, built=built)
        end_work(place, run)
        in_order = [results[spec.shard_id] for spec in specs]
        if part is not None:
            return report_of(place, in_order)
        return merge_at(place, folder, run, in_order, recipe, identity.device, notes)


def finish_build(
    videos: str | Path | Sequence[VideoEntry],
    recipe: Recipe,
    out: str | Path,
    *,
    warn: Callable[[str], None] = lambda line: None,
) -> BuildReport:
    """Merge the shards of a build whose parts are all finished, without decoding. Arguments as for `build`.

    Args:
        warn: called with warnings.

    Raises:
        ManifestError, ConfigError: as `build`.
        DatasetError: a shard is not built, or is damaged.
    """
    place, entries = place_of(out), _entries(videos)
    recipe, notes, specs = _planned(entries, recipe)
    identity = WorkIdentity.here(recipe, "cpu")
    with taken(place, _claimed(entries, identity), [spec.shard_id for spec in specs], warn=warn) as (folder, run):
        of_parts = recorded(folder).get("device", "")  # not of this machine
        identity = replace(identity, device=of_parts)
        finished = (folder / DATASET_FILE).exists()  # as in `build`

        def load(spec: ShardSpec) -> ShardResult | None:
            result = load_result(place, spec.shard_id, spec.fingerprint(identity))
            return result if result is not None and result.is_whole(place, thorough=finished) else None

        with ThreadPoolExecutor() as pool:
            results = [*pool.map(load, specs)]
        if missing := [spec.shard_id for spec, result in zip(specs, results, strict=True) if result is None]:
            raise DatasetError(
                f"{len(missing)} of {len(specs)} shards are not built, the first is {missing[0]}: run the parts of the "
                "build that failed again."
            )
        found = [result for result in results if result is not None]
        return merge_at(place, folder, run, found, recipe, identity.device, notes)


def _planned(entries: Sequence[VideoEntry], recipe: Recipe) -> tuple[Recipe, tuple[str, ...], list[ShardSpec]]:
    """The recipe to build with, sentences on how it differs from the given one, and the shards."""
    excluded, ids = frozenset(recipe.filter.exclude), {entry.video_id for entry in entries}
    known = ids | {one for one in excluded if video_of(one) in ids}
    refuse_unknown(sorted(excluded), known, "the manifest")
    groups = group_clips(entries)
    rest = [kept for group in groups if (kept := sampled_rest(group, excluded)) is not None]
    recipe, notes = plan_framing(rest, recipe)
    return recipe, notes, plan_shards(groups, recipe)


def _entries(videos: str | Path | Sequence[VideoEntry]) -> list[VideoEntry]:
    if isinstance(videos, str | Path):
        return read_videos(videos)
    check(videos)
    return list(videos)


def _share(specs: list[ShardSpec], number: int, count: int) -> list[ShardSpec]:
    if not 1 <= number <= count:
        raise ConfigError(f"There is no part {number}/{count}: parts are numbered from 1 to their count.")
    return specs[number - 1 :: count]


def _claimed(entries: Sequence[VideoEntry], identity: WorkIdentity) -> dict[str, Any]:
    """Values that a folder is claimed for: those known before the workers report their device."""
    known = {section: value for section, value in identity.values().items() if section != "device"}
    return {**known, "manifest": manifest_digest(entries)}


def _fitting_faces(faces: Path, identity: WorkIdentity, watcher: Watcher) -> Path | None:
    """The folder whose detections are reused; None, with a warning, if they were made under other conditions."""
    made_by = open_faces(faces).made_by
    if made_by in (None, identity.detection):
        return faces
    try:
        before = detection_values(recorded(faces))
    except ConfigError:
        before = {}
    different = differences(detection_values(identity.values()), before)
    means = " and ".join(different) if before.get("device") else "another detector, or another version of facemill"
    watcher.warn(f"No face detections of {faces} are reused: they were made with {means}.")
    return None


def _run(
    executor: Executor, specs: list[ShardSpec], job: BuildJob, listener: Callable[[Any], None]
) -> Iterator[tuple[ShardResult, bool]]:
    """Build every shard; a shard that kills workers is built again with each clip group in its own process.

    If a group kills even that worker, the shard is retried, and the next worker leaves the group out.

    Yields each result, and whether this run built it.
    """
    killed = yield from _attempt(executor, specs, job, listener)
    deaths: dict[str, list[str]] = {}
    while killed:
        killed = yield from _attempt(executor, [replace(spec, isolated=True) for spec in killed], job, listener)
        before, deaths = deaths, {spec.shard_id: deaths_of(job.place, spec.shard_id) for spec in killed}
        for shard_id, told in deaths.items():
            if told == before.get(shard_id, []):
                raise DatasetError(
                    f"Workers die while building shard {shard_id}, but not because of its videos: check their logs and "
                    "their memory limit."
                )


def _attempt(
    executor: Executor, specs: list[ShardSpec], job: BuildJob, listener: Callable[[Any], None]
) -> Generator[tuple[ShardResult, bool], None, list[ShardSpec]]:
    """Yield the results of shards that can be built; returns the shards that killed their workers."""
    killed = []
    for outcome in executor.run(partial(_build_on_worker, job), specs, listener):
        if outcome.killed:
            killed.append(outcome.task)
        else:
            yield _result(outcome)
    return killed


def _result(outcome: Outcome[ShardSpec, Result]) -> Result:
    """A task's result.

    Raises:
        FacemillError: the task's own, or a `DatasetError` if it failed repeatedly.
    """
    if outcome.result is not None:
        return outcome.result
    if isinstance(outcome.error, FacemillError):
        raise outcome.error
    fault = f"{type(outcome.error).__name__}: {outcome.error}"
    raise DatasetError(
        f"Shard {outcome.task.shard_id} failed repeatedly ({fault}): fix that and run the command again."
    ) from outcome.error


def _build_on_worker(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> tuple[ShardResult, bool]:
    # Checked first, before torch is imported, which takes seconds: in a resumed build most shards are committed.
    done = load_result(job.place, spec.shard_id, spec.fingerprint(job.work))
    if done is not None and done.is_final(job.place, retry_failed=job.retry_failed, thorough=job.thorough):
        return done, False
    return build_at(job.place, spec, job, WorkerSlot(number, threads), lambda done: tell(asdict(done))), True


def _count_gpus(device: str) -> int:
    """Number of GPUs that workers on this machine share."""
    if device == "cpu" or not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()
