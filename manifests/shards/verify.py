"""Verification: re-reads a built dataset from end to end and lists everything that is wrong with it."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError, ManifestError
from facemill.manifests.problem import Problem, VerifyReport
from facemill.manifests.records import FailureRecord, SampleRecord, VideoEntry
from facemill.manifests.schemas import FACES, SAMPLES, conform, from_table
from facemill.manifests.shards import SHARD_FORMATS
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    FACES_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    read_dataset,
)
from facemill.manifests.shards.dataset_checks import (
    SAMPLE_COLUMNS,
    check_counts,
    check_ids,
    check_manifest,
    check_splits,
    unknown_videos,
)
from facemill.manifests.shards.sample_checks import CropRules
from facemill.manifests.shards.shard_checks import ShardFindings, check_shard

__all__ = ["Problem", "VerifyReport", "verify"]

Record = TypeVar("Record", VideoEntry, FailureRecord)

Listed = Iterator[tuple[ShardInfo, list[SampleRecord] | None]]

BATCH = 8192
"""Rows of a table that are turned into records at once."""
UNREADABLE = (ManifestError, pa.ArrowException, OSError, ValueError)
"""What reading a damaged table raises."""


def verify(root: Path, *, threads: int | None = None) -> VerifyReport:
    """Re-read everything below `root`; damage is reported, never raised.

    Memory holds a few samples a thread, the rows of the shards under way, the manifest, and the samples' ids.

    Args:
        threads: shards read at once; as many as there are processors unless told.
    """
    try:
        info = read_dataset(root)
        rules = _crop_rules(info)
    except DatasetError as error:
        return VerifyReport((Problem(DATASET_FILE, str(error).removesuffix(".")),))
    problems: list[Problem] = []
    videos = _read(root / VIDEOS_FILE, VideoEntry, problems)
    if videos is not None:
        problems += check_manifest(videos)
    failures = _read(root / FAILURES_FILE, FailureRecord, problems)
    samples = _sample_columns(root, problems)
    if videos is not None and failures is not None and samples is not None:
        problems += check_splits(videos, samples)
        problems += check_ids(videos, failures, samples)
        problems += check_counts(info, failures, samples)
    by_id = {video.video_id: video for video in videos or ()}
    _check_faces(root, by_id, problems)
    problems += _unlisted_shards(root, info)
    listed = _listed_records(root, info.shards, problems) if samples is not None else ((s, None) for s in info.shards)
    found = list(_check_shards(root, listed, by_id, rules, threads or os.cpu_count() or 1))
    problems += chain.from_iterable(findings.problems for findings in found)
    return VerifyReport(tuple(problems), len(found), sum(findings.samples for findings in found), len(by_id))


def _crop_rules(info: DatasetInfo) -> CropRules:
    try:
        crop = info.recipe["crop"]
        around_face: Literal["box", "centre"] = "box" if crop["align"] == "none" else "centre"
        return CropRules(int(crop["size"]), "part" if crop["around"] == "mask" else around_face)
    except (KeyError, TypeError, ValueError):
        raise DatasetError("its recipe does not say how faces were cropped") from None


def _read(path: Path, record_class: type[Record], problems: list[Problem]) -> list[Record] | None:
    """All records of a table; None, and a problem, where it cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            return from_table(file.read(), record_class)
    except UNREADABLE as error:
        problems.append(_unreadable(path.name, error))
        return None


def _sample_columns(root: Path, problems: list[Problem]) -> pa.Table | None:
    """The few columns of samples.parquet that are looked at for the dataset as a whole."""
    try:
        with pq.ParquetFile(root / SAMPLES_FILE) as file:
            schema = pa.schema([SAMPLES.field(name) for name in SAMPLE_COLUMNS])
            return conform(file.read(SAMPLE_COLUMNS), schema)
    except UNREADABLE as error:
        problems.append(_unreadable(SAMPLES_FILE, error))
        return None


def _check_faces(root: Path, videos: Mapping[str, VideoEntry], problems: list[Problem]) -> None:
    """The kept detections can be read, and are of videos of the manifest."""
    found: set[str] = set()
    try:
        with pq.ParquetFile(root / FACES_FILE, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH):
                table = conform(pa.Table.from_batches([batch]), FACES)
                found.update(map(str, pc.unique(table["video_id"]).to_pylist()))
    except UNREADABLE as error:
        problems.append(_unreadable(FACES_FILE, error))
    if videos:
        problems += unknown_videos(FACES_FILE, found, videos.keys())


def _unlisted_shards(root: Path, info: DatasetInfo) -> Iterator[Problem]:
    known = {shard.path for shard in info.shards}
    suffixes = {shard_format.suffix for shard_format in SHARD_FORMATS.values()}
    for path in sorted(root.glob("*/*")):
        shard = path.relative_to(root).as_posix()
        if path.suffix in suffixes and path.parent.name != STATE_FOLDER and shard not in known:
            yield Problem(shard, f"{DATASET_FILE} does not list this shard")


def _listed_records(root: Path, shards: Iterable[ShardInfo], problems: list[Problem]) -> Listed:
    """Each shard with its rows of samples.parquet, streamed: rows of a shard stand together there."""
    waiting = {shard.path: shard for shard in shards}
    rest: list[SampleRecord] | None = []  # what is known of shards that samples.parquet does not mention: no rows
    try:
        with pq.ParquetFile(root / SAMPLES_FILE, pre_buffer=False) as file:
            batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(BATCH))
            rows = chain.from_iterable(from_table(batch, SampleRecord) for batch in batches)
            for path, records in groupby(rows, attrgetter("shard")):
                if shard := waiting.pop(path, None):
                    yield shard, list(records)
                else:
                    message = f"{len(list(records))} rows are of {path}, which is not (or not here) in {DATASET_FILE}"
                    problems.append(Problem(SAMPLES_FILE, message))
    except UNREADABLE as error:
        problems.append(_unreadable(SAMPLES_FILE, error))
        rest = None
    yield from ((shard, rest) for shard in waiting.values())


def _check_shards(
    root: Path, listed: Listed, videos: Mapping[str, VideoEntry], rules: CropRules, threads: int
) -> Iterator[ShardFindings]:
    """Check shards in parallel, in order; no more of them are under way than there are threads, and one waiting."""
    running: deque[Future[ShardFindings]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for shard, records in listed:
            running.append(pool.submit(check_shard, root, shard, records, videos, rules))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _unreadable(file: str, error: Exception) -> Problem:
    return Problem(file, f"it cannot be read: {str(error).removesuffix('.')}")
