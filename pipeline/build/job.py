"""The main job: a manifest and a recipe in, a checked dataset of face crops out. Killed anywhere, it resumes."""

import hashlib
import platform
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import av
import pyarrow as pa
import pyarrow.parquet as pq

from facemill import ConfigError, DatasetError, FacemillError, __version__
from facemill.manifests import VideoEntry, group_clips, read_videos, schemas, write_videos
from facemill.manifests.records import SPLITS
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_TABLES,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    count_samples,
    write_dataset,
)
from facemill.manifests.storage import TEMPORARY_SUFFIX, atomic_path, target_of, write_atomically
from facemill.manifests.validation import check
from facemill.pipeline.build.claim import BUILD_FILE, RUN_FILE, claim
from facemill.pipeline.build.early_stop import EarlyStop
from facemill.pipeline.build.executor import Executor, Outcome, tell
from facemill.pipeline.build.plan import BuildJob, ShardSpec, Slot, plan_shards
from facemill.pipeline.build.state import GroupDone, ShardResult, load_final, state_folder
from facemill.pipeline.build.worker_check import describe, fit_workers
from facemill.pipeline.config.recipe import Recipe

__all__ = ["BuildReport", "Watcher", "build"]

Result = TypeVar("Result")

MERGED_ROWS = 50_000
"""Rows of a row group of samples.parquet and faces.parquet, about."""

OWN_FILES = re.compile(
    "|".join(
        [
            *map(re.escape, (DATASET_FILE, CARD_FILE, CROISSANT_FILE)),
            *map(re.escape, (VIDEOS_FILE, SAMPLES_FILE, FACES_FILE, FAILURES_FILE, BUILD_FILE, RUN_FILE)),
            rf"({'|'.join(SPLITS)})-\d{{6,}}(\.samples|\.faces)?\.\w+",
        ]
    )
)
"""Names of the files that a build writes."""

VERSIONED = (
    "decord",
    "facenet-pytorch",
    "numpy",
    "opencv-contrib-python-headless",
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
        retryable: how many of them the same command tries again, by reason.
    """

    out: Path
    videos: int
    barren: int
    samples: int
    shards: int
    failures: int
    retryable: dict[str, int]

    @property
    def failure_rate(self) -> float:
        """Share of the videos that gave no sample."""
        return self.barren / self.videos


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
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    faces: str | Path | None = None,
    performance_report: str | Path | None = None,
    retry_failed: bool = False,
    watcher: Watcher | None = None,
) -> BuildReport:
    """Build a dataset of face crops; call it again with the same arguments to resume a build that was killed.

    Args:
        videos: a manifest, or its entries.
        out: the dataset's folder; every worker must see it under this path.
        workers, scheduler, performance_report: see `Executor`.
        device: see `BuildJob`.
        faces: folder of an earlier build whose detections are reused.
        retry_failed: try again also the shards in which a video failed by its own fault.
        watcher: is told how it goes.

    Raises:
        ManifestError: the manifest cannot be read or breaks a rule.
        ConfigError: `out` holds another build or cannot be written to, another run is at work there, the scheduler
            cannot be reached, or most of the first videos fail for one reason of the environment's.
        DetectorError: the detector's weights are missing.
        DatasetError: `faces` cannot be read, or a shard fails again and again for no fault of a video.
    """
    out, faces = Path(out).absolute(), None if faces is None else Path(faces).absolute()
    entries = read_videos(videos) if isinstance(videos, str | Path) else list(videos)
    if faces is not None and not (faces / FACES_FILE).is_file():
        raise DatasetError(f"There is no {faces / FACES_FILE}: give --faces the folder of a finished build.")
    if not isinstance(videos, str | Path):
        check(entries)
    watcher = watcher or Watcher()
    specs = plan_shards(group_clips(entries), recipe)
    results: dict[str, ShardResult] = {}
    gpus = _count_gpus(device)
    with claim(out, _identity(entries, recipe)) as run:
        write_videos(entries, out / VIDEOS_FILE, places=False)
        job = BuildJob(out, recipe, faces, device, retry_failed, run)
        watcher.begin(len(entries))
        with Executor(
            workers=workers, scheduler=scheduler, gpus=gpus, performance_report=performance_report
        ) as executor:
            if executor.dashboard is not None:
                watcher.note(f"Dask's dashboard: {executor.dashboard}")
            _check_workers(executor, entries, recipe, job, watcher)
            for result, built in _run(executor, specs, job, _Listener(watcher, EarlyStop(len(entries)))):
                results[result.shard_id] = result
                watcher.shard(result, built=built)
        return _finish(out, entries, recipe, [results[spec.shard_id] for spec in specs])


# Running ----------------------------------------------------------------------------------------------


def _check_workers(
    executor: Executor, entries: Sequence[VideoEntry], recipe: Recipe, job: BuildJob, watcher: Watcher
) -> None:
    """Refuse workers that would give other bytes, and leave out those that do not see a folder."""
    roots = sorted({entry.root for entry in entries})
    weights = None if recipe.detect.weights is None else str(recipe.detect.weights)
    packages = ("facemill", "av", *VERSIONED)
    seen: tuple[Any, ...] = packages, weights, roots, str(state_folder(job.out) / RUN_FILE), job.run

    def choose(told: dict[str, dict[str, Any]]) -> list[str]:
        fit, lines, difference = fit_workers(describe(*seen)["versions"], told)
        if difference is not None:
            raise ConfigError(difference)
        if not fit:
            raise ConfigError(f"No worker can work: {' '.join(lines)}")
        for line in lines:
            watcher.warn(line)
        return fit

    executor.choose_workers(describe, *seen, choose=choose)


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

    Yields each result, and whether this run made it.
    """
    killed = yield from _attempt(executor, specs, job, listener)
    killed = yield from _attempt(executor, [replace(spec, isolated=True) for spec in killed], job, listener)
    if killed:
        raise DatasetError(
            f"Workers die of shard {killed[0].shard_id}, though not of its videos: look at their logs, and at their "
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
    done = load_final(job.out, spec.shard_id, spec.fingerprint(job.recipe), retry_failed=job.retry_failed)
    if done is not None:
        return done, False
    from facemill.pipeline.build.shard import build_shard

    return build_shard(spec, job, Slot(number, threads), lambda done: tell(asdict(done))), True


def _count_gpus(device: str) -> int:
    """GPUs that workers on this machine would share."""
    if device == "cpu" or not Path("/proc/driver/nvidia/gpus").is_dir():
        return 0
    import torch

    return torch.cuda.device_count()


# Before and after -------------------------------------------------------------------------------------


def _identity(entries: list[VideoEntry], recipe: Recipe) -> dict[str, Any]:
    """What must not change between the runs of one build, since it may show in the bytes."""
    videos = hashlib.sha256()
    for entry in entries:
        videos.update(repr(replace(entry, root="")).encode())  # a root that has moved holds the same videos still
    return {
        "recipe": recipe.work_values(),
        "manifest": videos.hexdigest(),
        "weights file": recipe.detect.weights_digest(),
        "version of facemill or its libraries": {"facemill": __version__, **_versions()},
    }


def _finish(out: Path, entries: list[VideoEntry], recipe: Recipe, results: list[ShardResult]) -> BuildReport:
    """Merge the shards' tables in the order of the plan and write what speaks of the whole; dataset.json last."""
    _merge((out / result.samples.path for result in results), schemas.SAMPLES, out / SAMPLES_FILE)
    _merge((out / result.faces.path for result in results), schemas.FACES, out / FACES_FILE)
    # A reference is read in several shards.
    failures = list(dict.fromkeys(failure for result in results for failure in result.failures))
    facts = list({row.video_id: row for result in results for row in result.facts}.values())
    for path, table in (
        (out / FAILURES_FILE, schemas.to_table(failures, schemas.FAILURES)),
        (out / FACTS_FILE, schemas.to_table(facts, schemas.FACTS)),
    ):
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)
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
    _sweep(out)
    write_dataset(out, info)
    return BuildReport(
        out=out,
        videos=len(entries),
        barren=sum(result.barren for result in results),
        samples=sum(result.rows for result in results),
        shards=len(shards),
        failures=len(failures),
        retryable=dict(Counter(failure.reason.value for failure in failures if failure.retryable)),
    )


def _sweep(out: Path) -> None:
    """Delete what killed processes left half-written of a build's own files, and nothing else."""
    for folder in (out, state_folder(out), out / STATE_TABLES, *(out / split for split in SPLITS)):
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if OWN_FILES.fullmatch(target_of(path) or ""):
                path.unlink(missing_ok=True)


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
