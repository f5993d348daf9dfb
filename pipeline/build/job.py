"""The main job: a manifest and a recipe in, a checked dataset of face crops out. Killed anywhere, it resumes."""

import hashlib
import json
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import av
import pyarrow as pa
import pyarrow.parquet as pq

from facemill import ConfigError, DatasetError, FacemillError, __version__
from facemill.manifests import FailureRecord, VideoEntry, group_clips, read_videos, schemas, write_videos
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    count_samples,
    write_dataset,
)
from facemill.manifests.storage import TEMPORARY_SUFFIX, atomic_path, write_atomically
from facemill.pipeline.build.executor import Executor, Outcome
from facemill.pipeline.build.isolate import find_poison
from facemill.pipeline.build.plan import BuildJob, ShardSpec, Slot, plan_shards
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.build.state import ShardResult, load_result, state_folder

__all__ = ["BuildReport", "build"]

Result = TypeVar("Result")

MERGED_ROWS = 50_000
"""Rows of a row group of samples.parquet and faces.parquet, about."""

VERSIONED = (
    "decord",
    "facenet-pytorch",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "retina-face",
    "torch",
    "torchvision",
)
"""Packages, beside PyAV, whose version may show in the pixels or the files."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build came to.

    Attributes:
        barren: videos that gave no sample; each is in failures.parquet with the reason.
        failures: rows of failures.parquet.
    """

    out: Path
    videos: int
    barren: int
    samples: int
    shards: int
    failures: int

    @property
    def failure_rate(self) -> float:
        """Share of the videos that gave no sample."""
        return self.barren / self.videos


def build(
    videos: Path | Sequence[VideoEntry],
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    faces: Path | None = None,
    performance_report: Path | None = None,
    on_result: Callable[[ShardResult, int], None] = lambda result, videos: None,
) -> BuildReport:
    """Build a dataset of face crops; call it again with the same arguments to resume a build that was killed.

    Args:
        videos: a manifest, or its entries.
        out: the dataset's folder; every worker must see it under this path.
        workers, scheduler, performance_report: see `Executor`.
        device: see `BuildJob`.
        faces: folder of an earlier build whose detections are reused.
        on_result: called after each shard with its result and the number of videos in all.

    Raises:
        ManifestError: the manifest cannot be read or breaks a rule.
        ConfigError: `out` holds another build, or the scheduler cannot be reached.
        DetectorError: the detector's weights are missing.
        DatasetError: `faces` cannot be read, or a shard fails again and again for no fault of a video.
    """
    entries = read_videos(videos) if isinstance(videos, Path) else list(videos)
    if faces is not None and not (faces / FACES_FILE).is_file():
        raise DatasetError(f"There is no {faces / FACES_FILE}: give --faces the folder of a finished build.")
    out = out.absolute()
    _claim(out, entries, recipe)
    job = BuildJob(out, recipe, None if faces is None else faces.absolute(), device)
    specs = plan_shards(group_clips(entries), recipe)
    results: dict[str, ShardResult] = {}
    gpus = _count_gpus(device)
    with Executor(workers=workers, scheduler=scheduler, gpus=gpus, performance_report=performance_report) as executor:
        (out / DATASET_FILE).unlink(missing_ok=True)  # it says that a dataset is whole
        for result in _run(executor, specs, job):
            results[result.shard_id] = result
            on_result(result, len(entries))
    return _finish(out, entries, recipe, [results[spec.shard_id] for spec in specs])


# Running ----------------------------------------------------------------------------------------------


def _run(executor: Executor, specs: list[ShardSpec], job: BuildJob) -> Iterator[ShardResult]:
    """Build every shard; those that kill workers are taken apart and built without the poisonous videos."""
    killed = yield from _attempt(executor, specs, job)
    if killed:
        killed = yield from _attempt(executor, _without_poison(executor, killed, job), job)
    # What still kills workers although none of its videos does so alone is given up, on the record.
    killed = yield from _attempt(executor, [replace(spec, poisonous=spec.video_ids) for spec in killed], job)
    if killed:
        raise DatasetError(f"Workers die of shard {killed[0].shard_id} before they read a video: look at their logs.")


def _attempt(
    executor: Executor, specs: list[ShardSpec], job: BuildJob
) -> Generator[ShardResult, None, list[ShardSpec]]:
    """Yield the results of the shards that can be built; returns those that killed their workers."""
    killed = []
    for outcome in executor.run(partial(_build_on_worker, job), specs):
        if outcome.killed:
            killed.append(outcome.task)
        else:
            yield _result(outcome)
    return killed


def _without_poison(executor: Executor, killed: list[ShardSpec], job: BuildJob) -> list[ShardSpec]:
    """The shards without the videos that kill workers; all of a shard's, where even looking for them kills."""
    return [
        replace(outcome.task, poisonous=outcome.task.video_ids if outcome.killed else _result(outcome))
        for outcome in executor.run(partial(_find_poison_on_worker, job), killed)
    ]


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


def _build_on_worker(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> ShardResult:
    # First, and without torch, which takes seconds to import: most of a resumed build is committed.
    done = load_result(job.out, spec.shard_id, spec.fingerprint(job.recipe))
    if done is not None:
        return done
    from facemill.pipeline.build.shard import build_shard

    return build_shard(spec, job, Slot(number, threads))


def _find_poison_on_worker(job: BuildJob, spec: ShardSpec, number: int, threads: int) -> frozenset[str]:
    return find_poison(spec, job)


def _count_gpus(device: str) -> int:
    """GPUs that workers on this machine would share."""
    if device == "cpu" or not Path("/proc/driver/nvidia/gpus").is_dir():
        return 0
    import torch

    return torch.cuda.device_count()


# Before and after -------------------------------------------------------------------------------------


def _claim(out: Path, entries: list[VideoEntry], recipe: Recipe) -> None:
    """Take a folder for this build, or find that it already is this build's.

    Raises:
        ConfigError: if it is another build's, or holds anything else.
        ManifestError: the entries break a rule.
    """
    claim = _identity(entries, recipe)
    path = state_folder(out) / "build.json"
    if path.is_file():
        before = json.loads(path.read_bytes())
        if different := [what for what in claim if before.get(what) != claim[what]]:
            fault = " and another ".join(different)
            raise ConfigError(f"{out} holds a build with another {fault}: choose another --out, or delete the folder.")
    elif out.is_dir() and any(child != state_folder(out) for child in out.iterdir()):
        raise ConfigError(f"{out} is not empty and holds no build: choose another --out.")
    else:
        write_atomically(path, json.dumps(claim, indent=1).encode())
    write_videos(entries, out / VIDEOS_FILE)


def _identity(entries: list[VideoEntry], recipe: Recipe) -> dict[str, Any]:
    """What must not change between the runs of one build, since it may show in the bytes."""
    videos = hashlib.sha256()
    for entry in entries:
        videos.update(repr(entry).encode())
    return {
        "recipe": recipe.build_values(),
        "manifest": videos.hexdigest(),
        "weights file": recipe.detect.weights_digest(),
        "version of facemill or its libraries": {"facemill": __version__, **_versions()},
    }


def _finish(out: Path, entries: list[VideoEntry], recipe: Recipe, results: list[ShardResult]) -> BuildReport:
    """Merge the shards' tables in the order of the plan and write what speaks of the whole; dataset.json last."""
    _merge((out / result.samples.path for result in results), schemas.SAMPLES, out / SAMPLES_FILE)
    _merge((out / result.faces.path for result in results), schemas.FACES, out / FACES_FILE)
    failures: list[FailureRecord] = [failure for result in results for failure in result.failures]
    with atomic_path(out / FAILURES_FILE) as temporary:
        pq.write_table(schemas.to_table(failures, schemas.FAILURES), temporary)
    shards = [(result.split, result.shard) for result in results if result.shard is not None]
    info = DatasetInfo(
        recipe=recipe.build_values(),
        versions=_versions(),
        counts=count_samples(pq.read_table(out / SAMPLES_FILE, columns=["split", "method", "video_id"])),
        shards=tuple(ShardInfo(file.path, split, file.rows, file.bytes, file.sha256) for split, file in shards),
        failures=len(failures),
    )
    write_atomically(out / CARD_FILE, dataset_card(info).encode())
    write_atomically(out / CROISSANT_FILE, croissant_metadata(info, out).encode())
    for leftover in out.rglob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
    write_dataset(out, info)
    return BuildReport(
        out=out,
        videos=len(entries),
        barren=sum(result.barren for result in results),
        samples=sum(result.rows for result in results),
        shards=len(shards),
        failures=len(failures),
    )


def _merge(tables: Iterable[Path], schema: pa.Schema, target: Path) -> None:
    """Concatenate Parquet files, holding no more than a row group's rows at a time."""
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        held: list[pa.Table] = []
        for path in tables:
            held.append(pq.read_table(path, schema=schema))
            if sum(map(len, held)) >= MERGED_ROWS:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))


def _versions() -> dict[str, str]:
    """Versions of whatever may show in the pixels, for dataset.json."""
    versions = {name: metadata.version(name) for name in VERSIONED}
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    versions |= {"av": av.__version__, "libavcodec": libavcodec}
    return versions | {"python": platform.python_version()}
