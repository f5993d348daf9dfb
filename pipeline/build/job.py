"""The main job: a manifest and a recipe in, a checked dataset of face crops out. Killed anywhere, it resumes."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from facemill import ConfigError, DatasetError, FacemillError
from facemill.manifests import VideoEntry, group_clips, read_videos, write_videos
from facemill.manifests.shards.dataset import DATASET_FILE, FACES_FILE, VIDEOS_FILE
from facemill.manifests.validation import check
from facemill.pipeline.build.claim import claim, recorded, run_file, settle
from facemill.pipeline.build.early_stop import EarlyStop
from facemill.pipeline.build.executors import Executor, Outcome, tell
from facemill.pipeline.build.identity import (
    WorkIdentity,
    detection_values,
    differences,
    has_gpu,
    manifest_digest,
)
from facemill.pipeline.build.isolate import deaths_of
from facemill.pipeline.build.merge import BuildReport, merge_shards, report_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot, plan_shards
from facemill.pipeline.build.state import GroupDone, ShardResult, load_final, load_whole
from facemill.pipeline.build.worker_check import describe, fit_workers
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.extract.known_faces import open_faces
from facemill.registry import EXECUTORS

__all__ = ["BuildReport", "Watcher", "build", "finish_build"]

Result = TypeVar("Result")


class Watcher:
    """Is told how a build goes; this one takes no notice."""

    def begin(self, videos: int) -> None:
        """There are `videos` in all."""

    def note(self, line: str) -> None:
        """Something that helps to watch the build."""

    def warn(self, line: str) -> None:
        """Something that the user should know, and that does not end the build."""

    def group(self, done: GroupDone) -> None:
        """A worker is through with a clip group."""

    def shard(self, result: ShardResult, *, built: bool) -> None:
        """A shard is committed, now (`built`) or by an earlier run."""


def build(
    videos: str | Path | Sequence[VideoEntry],
    recipe: Recipe,
    out: str | Path,
    *,
    executor: str = "dask",
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    faces: str | Path | None = None,
    part: tuple[int, int] | None = None,
    performance_report: str | Path | None = None,
    retry_failed: bool = False,
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
        out: the dataset's folder; every worker must see it under this path.
        executor, workers, scheduler, performance_report: one of `registry.EXECUTORS`, and what it takes.
        device: see `BuildJob`.
        faces: folder of an earlier build whose detections are reused.
        part: (3, 16) builds the third of 16 equal parts of the shards and merges nothing: 16 such calls, at one time
            or another and on any machines that see `out`, then `finish_build`, come to the same as one without it.
        retry_failed: try again also the shards in which a video failed by its own fault.
        watcher: is told how it goes.

    Returns:
        what the build, or the part of it, came to.

    Raises:
        ManifestError: the manifest cannot be read or breaks a rule.
        ConfigError: `out` holds another build or cannot be written to, another run is at work there, the scheduler
            cannot be reached, or most of the first videos fail for one reason of the environment's.
        DetectorError: the detector's weights are missing.
        DatasetError: `faces` cannot be read, or a shard fails again and again for no fault of a video.
    """
    out, faces = Path(out).absolute(), None if faces is None else Path(faces).absolute()
    entries = _entries(videos)
    if faces is not None and not (faces / FACES_FILE).is_file():
        raise DatasetError(f"There is no {faces / FACES_FILE}: give --faces the folder of a finished build.")
    watcher = watcher or Watcher()
    specs = plan_shards(group_clips(entries), recipe)
    if part is not None:
        specs = _share(specs, *part)
    count = sum(len(spec.sampled_ids) for spec in specs)
    crew = EXECUTORS[executor](
        workers=workers,
        scheduler=scheduler,
        gpus=_count_gpus(device),
        performance_report=performance_report,
    )
    identity = WorkIdentity.here(recipe, device)
    with claim(out, _claimed(entries, identity), shared=part is not None) as run:
        write_videos(entries, out / VIDEOS_FILE, places=False)
        watcher.begin(count)
        results: dict[str, ShardResult] = {}
        with crew:
            if crew.dashboard is not None:
                watcher.note(f"Dask's dashboard: {crew.dashboard}")
            identity = _agreed(crew, identity, device, entries, recipe, run_file(out, run), watcher)
            settle(out, identity.values())
            if faces is not None:
                faces = _fitting_faces(faces, identity, watcher)
            job = BuildJob(out, recipe, faces, device, retry_failed, run, identity, thorough=_is_finished(out))
            for result, built in _run(crew, specs, job, _Listener(watcher, EarlyStop(count))):
                results[result.shard_id] = result
                watcher.shard(result, built=built)
        in_order = [results[spec.shard_id] for spec in specs]
        return report_of(out, in_order) if part is not None else merge_shards(out, recipe, in_order)


def finish_build(videos: str | Path | Sequence[VideoEntry], recipe: Recipe, out: str | Path) -> BuildReport:
    """Merge the shards of a build all of whose parts are done, and decode nothing. Arguments as for `build`.

    Raises:
        ManifestError, ConfigError: as `build`.
        DatasetError: for shards that are not built, or not whole.
    """
    out, entries = Path(out).absolute(), _entries(videos)
    specs = plan_shards(group_clips(entries), recipe)
    identity = WorkIdentity.here(recipe, "cpu")
    with claim(out, _claimed(entries, identity)):
        identity = replace(identity, device=recorded(out).get("device", ""))  # of the parts, whatever this machine has
        how = {"thorough": _is_finished(out)}
        results = [load_whole(out, spec.shard_id, spec.fingerprint(identity), **how) for spec in specs]
        if missing := [spec.shard_id for spec, result in zip(specs, results, strict=True) if result is None]:
            raise DatasetError(
                f"{len(missing)} of {len(specs)} shards are not built, {missing[0]} the first: run the parts of the "
                "build that failed once more."
            )
        return merge_shards(out, recipe, [result for result in results if result is not None])


def _is_finished(out: Path) -> bool:
    """Whether a run would mend what was finished, so that every byte is looked at, or resume what was interrupted."""
    return (out / DATASET_FILE).exists()


def _entries(videos: str | Path | Sequence[VideoEntry]) -> list[VideoEntry]:
    if isinstance(videos, str | Path):
        return read_videos(videos)
    check(videos)
    return list(videos)


def _share(specs: list[ShardSpec], number: int, count: int) -> list[ShardSpec]:
    if not 1 <= number <= count:
        raise ConfigError(f"There is no part {number}/{count}: parts are numbered from 1 to their count.")
    return specs[number - 1 :: count]


# Running ----------------------------------------------------------------------------------------------


def _claimed(entries: Sequence[VideoEntry], identity: WorkIdentity) -> dict[str, Any]:
    """What a folder is claimed for, as far as it is known before the workers have told their device."""
    known = {section: value for section, value in identity.values().items() if section != "device"}
    return {**known, "manifest": manifest_digest(entries)}


def _agreed(
    executor: Executor,
    own: WorkIdentity,
    device: str,
    entries: Sequence[VideoEntry],
    recipe: Recipe,
    run_file: Path,
    watcher: Watcher,
) -> WorkIdentity:
    """The identity of the work of those who do it: a worker that would give other bytes is refused.

    Those that do not see a folder are left out.
    """
    roots = sorted({entry.root for entry in entries})
    weights = None if recipe.detect.weights is None else str(recipe.detect.weights)
    devices = [own.device]

    def choose(told: dict[str, dict[str, Any]]) -> list[str]:
        fit, lines, difference, there = fit_workers(own.values(), told)
        if difference is not None:
            raise ConfigError(difference)
        if there is None:
            raise ConfigError(f"No worker can work: {' '.join(lines)}")
        for line in lines:
            watcher.warn(line)
        devices.append(there)
        return fit

    executor.choose_workers(describe, weights, device, roots, str(run_file), choose=choose)
    return replace(own, device=devices[-1])


def _fitting_faces(faces: Path, identity: WorkIdentity, watcher: Watcher) -> Path | None:
    """The folder whose detections are reused; None, with a word about it, where they were made by other means."""
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


@dataclass(frozen=True, slots=True)
class _Listener:
    """Hands on what workers tell."""

    watcher: Watcher
    early_stop: EarlyStop

    def __call__(self, message: dict[str, Any]) -> None:
        done = GroupDone(**message)
        self.watcher.group(done)
        self.early_stop(done)


def _run(
    executor: Executor, specs: list[ShardSpec], job: BuildJob, listener: _Listener
) -> Iterator[tuple[ShardResult, bool]]:
    """Build every shard; those that kill workers once more, with each clip group in a process of its own.

    Where a group kills the worker even so, again: the next worker leaves it out.

    Yields each result, and whether this run made it.
    """
    killed = yield from _attempt(executor, specs, job, listener)
    deaths: dict[str, list[str]] = {}
    while killed:
        killed = yield from _attempt(executor, [replace(spec, isolated=True) for spec in killed], job, listener)
        before, deaths = deaths, {spec.shard_id: deaths_of(job.out, spec.shard_id) for spec in killed}
        for shard_id, told in deaths.items():
            if told == before.get(shard_id, []):
                raise DatasetError(
                    f"Workers die of shard {shard_id}, though not of its videos: look at their logs, and at their "
                    "memory limit."
                )


def _attempt(
    executor: Executor, specs: list[ShardSpec], job: BuildJob, listener: _Listener
) -> Generator[tuple[ShardResult, bool], None, list[ShardSpec]]:
    """Yield the results of the shards that can be built; returns those that killed their workers."""
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
        FacemillError: what the task raised, or that it failed again and again.
    """
    if outcome.result is not None:
        return outcome.result
    if isinstance(outcome.error, FacemillError):
        raise outcome.error
    fault = f"{type(outcome.error).__name__}: {outcome.error}"
    raise DatasetError(
        f"Shard {outcome.task.shard_id} failed again and again ({fault}): mend that and run the command again."
    ) from outcome.error


def _build_on_worker(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> tuple[ShardResult, bool]:
    # First, and without torch, which takes seconds to import: most of a resumed build is committed.
    how = {"retry_failed": job.retry_failed, "thorough": job.thorough}
    done = load_final(job.out, spec.shard_id, spec.fingerprint(job.work), **how)
    if done is not None:
        return done, False
    from facemill.pipeline.build.shard import build_shard

    return build_shard(spec, job, WorkerSlot(number, threads), lambda done: tell(asdict(done))), True


def _count_gpus(device: str) -> int:
    """GPUs that workers on this machine would share."""
    if device == "cpu" or not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()
