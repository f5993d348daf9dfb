"""Where a build writes to: a folder, or an object store behind a URL, which is given whole files in order.

Behind a URL, each shard is built in a temporary folder of its worker, as in any folder, and then uploaded: the shard,
its tables, its result last, which is the commit. The driver asks for the results that the plan names, merges copies
of the shards' tables, and uploads dataset.json last. Nothing is renamed or locked. A run says that it is under way by
an object of its own, and by another that it writes anew every `BEAT_S` seconds: one that stays as it is for `DEAD_S` is
of a run that was killed. Two runs that start at the same moment see each other, as both write first and look then.
"""

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemill import ClusterError, ConfigError, DatasetError
from facemill.manifests.copies import copies_folder
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.dataset import BUILD_FILE, DATASET_FILE, STATE_FOLDER, VIDEOS_FILE, state_path
from facemill.manifests.urls import is_url
from facemill.pipeline.build import run_folder
from facemill.pipeline.build.claim import claim
from facemill.pipeline.build.merge import MERGED, BuildReport, merge_shards, report_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.build.state import PLAN_FILE, GroupDone, ShardResult, load_result
from facemill.pipeline.config.recipe import Recipe

__all__ = [
    *("BEAT", "RUNS"),
    *("build_at", "check_held", "end_work", "merge_at", "place_of", "publish_claim", "run_place", "taken"),
]

BEAT_S, DEAD_S = 15.0, 60.0
"""Seconds between two signs of life of a run behind a URL, and without any after which it counts as killed."""
RUNS = f"{STATE_FOLDER}/runs"
"""One object for each run that is under way, and one more for its signs of life."""
BEAT = ".beat"
"""End of the latter's name. A run that is taken over loses the former, which it never writes again."""


def place_of(out: str | Path) -> Path | RemoteFolder:
    text = str(out).removeprefix("file://")
    return RemoteFolder(text.rstrip("/")) if is_url(text) else Path(text).absolute()


@contextmanager
def taken(
    place: Path | RemoteFolder,
    identity: Mapping[str, Any],
    shards: Sequence[str],
    *,
    shared: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Path, str]]:
    """Take a place for a build: see `claim`.

    Args:
        shards: ids of the shards of the plan.
        warn: called with a line if there is something to wait for.

    Yields the folder to work in, which is the place itself if that is one, and the id of this run.
    """
    if isinstance(place, Path):
        with claim(place, identity, shared=shared, warn=warn) as run:
            yield place, run
        return
    with copies_folder() as copies, _under_way(place, shared=shared, note=warn) as run:
        folder = copies / "dataset"
        build = f"{STATE_FOLDER}/{BUILD_FILE}"
        place.fetch([build, DATASET_FILE, *map(state_path, shards)], folder)
        if not (folder / build).exists() and place.names() not in ([], [STATE_FOLDER]):
            raise ConfigError(f"{place} is not empty and holds no build: choose another --out.")
        with claim(folder, identity):
            yield folder, run


@contextmanager
def _under_way(place: RemoteFolder, *, shared: bool, note: Callable[[str], None]) -> Iterator[str]:
    run = secrets.token_hex(8)
    mine, ended = f"{RUNS}/{run}", threading.Event()
    told = {"shared": shared, "host": platform.node(), "pid": os.getpid()}

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(DatasetError):  # the work itself tells of a server that fails
                if place.read(mine) is None:
                    return  # another run has taken the place, and this run's workers stop
                place.write(mine + BEAT, str(time.time()).encode())

    place.write(mine, json.dumps({**told, "at": time.time()}).encode())
    beating = threading.Thread(target=beat, name="claim", daemon=True)
    beating.start()
    try:
        _wait_for_others(place, mine, shared=shared, note=note)
        yield run
    finally:
        ended.set()
        beating.join()
        with suppress(DatasetError):  # it is dead after a while
            _forget(place, mine)


def _wait_for_others(place: RemoteFolder, mine: str, *, shared: bool, note: Callable[[str], None]) -> None:
    """Remove what runs that were killed have left.

    Raises:
        ConfigError: if another run is under way that cannot share the place.
    """
    names = {f"{RUNS}/{name}".removesuffix(BEAT) for name in RemoteFolder(f"{place}/{RUNS}").names()}
    rivals = {}
    for name in sorted(names - {mine}):
        claimed = place.read(name)
        if claimed is None:  # a run that was taken over may give its last sign of life late
            place.remove(name + BEAT)
        elif not (shared and _shares(claimed)):
            rivals[name] = place.read(name + BEAT)
    if rivals:
        note(f"{place} was taken by another run: this one waits up to {DEAD_S:g} s to see that it has ended.")
    deadline = time.monotonic() + DEAD_S
    while rivals and time.monotonic() < deadline:
        time.sleep(BEAT_S / 3)
        rivals = {name: sign for name, sign in rivals.items() if place.read(name) is not None}
        if any(place.read(name + BEAT) not in (sign, None) for name, sign in rivals.items()):
            raise ConfigError(f"Another build is at work in {place}: wait for it, or choose another --out.")
    for name in rivals:
        _forget(place, name)


def _shares(claimed: bytes) -> bool:
    try:
        return bool(json.loads(claimed)["shared"])
    except (ValueError, LookupError, TypeError):  # damaged
        return False


def _forget(place: RemoteFolder, run: str) -> None:
    place.remove(run)
    place.remove(run + BEAT)


def run_place(place: Path | RemoteFolder, run: str) -> str:
    """Path or URL of what is there for as long as a run is under way."""
    return str(run_folder.run_folder(place, run)) if isinstance(place, Path) else f"{place}/{RUNS}/{run}"


def check_held(place: Path | RemoteFolder, run: str) -> None:
    """See that the place is still this run's: see `facemill.pipeline.build.run_folder.check_held`."""
    if isinstance(place, Path):
        run_folder.check_held(place, run)
    elif place.read(f"{RUNS}/{run}") is None:
        raise ClusterError(
            f"The build in {place} was stopped, or another run took it over: this process stops, too. The same command "
            "resumes it."
        )


def end_work(place: Path | RemoteFolder, run: str) -> None:
    """Keep workers from committing anything more; behind a URL, one that is late uploads equal bytes."""
    if isinstance(place, Path):
        run_folder.end_work(place, run)


def publish_claim(place: Path | RemoteFolder, folder: Path) -> None:
    """Say what a build is, before any of its shards is committed."""
    if isinstance(place, RemoteFolder):
        place.publish([f"{STATE_FOLDER}/{BUILD_FILE}", f"{STATE_FOLDER}/{PLAN_FILE}", VIDEOS_FILE], folder)


def build_at(
    place: Path | RemoteFolder, spec: ShardSpec, job: BuildJob, slot: WorkerSlot, tell: Callable[[GroupDone], None]
) -> ShardResult:
    """As `build_shard`, at the job's place."""
    from facemill.pipeline.build.shard import build_shard  # late, for the sake of torch

    if isinstance(place, Path):
        return build_shard(spec, job, slot, tell)
    with copies_folder() as copies:
        folder = copies / "dataset"
        place.fetch([state_path(spec.shard_id)], folder)
        before = load_result(folder, spec.shard_id, spec.fingerprint(job.work))
        if before is not None:
            place.fetch([file.path for file in before.files], folder)
        run = job.run or ""
        (run_folder.run_folder(folder, run) / run_folder.WORK_FOLDER).mkdir(parents=True)  # as of a run in this folder

        def done(group: GroupDone) -> None:
            check_held(place, run)
            tell(group)

        result = build_shard(spec, replace(job, out=folder), slot, done)
        if result != before:
            check_held(place, run)
            place.remove(DATASET_FILE)  # it marks the dataset as complete
            place.publish([*(file.path for file in result.files), state_path(spec.shard_id)], folder)
        if spec.isolated:
            place.remove(state_path(spec.shard_id, "deaths"))
    return result


def merge_at(
    place: Path | RemoteFolder,
    folder: Path,
    run: str,
    results: Sequence[ShardResult],
    recipe: Recipe,
    device: str,
    notes: tuple[str, ...],
) -> BuildReport:
    """As `merge_shards`, at a place, for which `folder` is the one to work in."""
    if isinstance(place, Path):
        return merge_shards(place, recipe, results, device, notes)
    place.fetch([file.path for result in results for file in result.files if file != result.shard], folder)
    merge_shards(folder, recipe, results, device, notes)
    check_held(place, run)
    place.publish([*MERGED, DATASET_FILE], folder)  # the latter last: it marks the dataset as complete
    return report_of(place, results)
