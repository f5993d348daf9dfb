"""What must be true of one shard: its bytes, its samples, and that samples.parquet says the same of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facemill import DatasetError
from facemill.manifests.problem import Problem
from facemill.manifests.records import SampleRecord, VideoEntry
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import SAMPLES_FILE, ShardInfo
from facemill.manifests.shards.sample_checks import CropRules, check_sample
from facemill.manifests.storage import sha256_of

__all__ = ["ShardFindings", "check_shard"]

VIDEO_FIELDS = ("dataset", "method", "label", "quality", "source_id", "subject_ids")
"""What a sample repeats of its video; `split` is compared once per video, for the dataset as a whole."""


@dataclass(frozen=True, slots=True)
class ShardFindings:
    """What is wrong with a shard, and how many of its samples could be read."""

    problems: list[Problem]
    samples: int


def check_shard(
    root: Path,
    shard: ShardInfo,
    listed: Sequence[SampleRecord] | None,
    videos: Mapping[str, VideoEntry],
    rules: CropRules,
) -> ShardFindings:
    """Read a shard from end to end, one sample at a time.

    Args:
        root: the dataset's folder.
        listed: the shard's rows of samples.parquet, in order; None where that file cannot be read.
        videos: the manifest by video_id; samples of videos that are not in it are not compared with it.
    """
    path = root / shard.path
    if not path.is_file():
        return ShardFindings([Problem(shard.path, "the shard is missing")], 0)
    try:
        problems = [Problem(shard.path, message) for message in _check_file(path, shard)]
        samples = format_of(shard.path).read(path)
    except (DatasetError, OSError) as error:
        return ShardFindings([Problem(shard.path, _sentence(error))], 0)
    missing = None if listed is None else {record.row: record for record in listed}
    row = 0
    try:
        for sample in samples:
            messages = _check_row(sample, row, shard, videos, rules)
            problems += [Problem(shard.path, message, row, sample.record.sample_id) for message in messages]
            if missing is not None:
                problems += _compare(shard.path, row, sample.record, missing.pop(row, None))
            row += 1
    except DatasetError as error:
        problems.append(Problem(shard.path, _sentence(error), row))
        return ShardFindings(problems, row)
    if row != shard.rows:
        problems.append(Problem(shard.path, f"it holds {row} samples, not {shard.rows} as dataset.json says"))
    for record in (missing or {}).values():
        message = f"row {record.row} of {shard.path} is listed but not there"
        problems.append(Problem(SAMPLES_FILE, message, sample_id=record.sample_id))
    return ShardFindings(problems, row)


def _check_file(path: Path, shard: ShardInfo) -> Iterator[str]:
    size = path.stat().st_size
    if size != shard.bytes:
        yield f"its size is {size} bytes, not {shard.bytes} as dataset.json says"
    elif sha256_of(path) != shard.sha256:
        yield "its sha256 is not the one in dataset.json: bytes have changed"


def _check_row(
    sample: EncodedSample, row: int, shard: ShardInfo, videos: Mapping[str, VideoEntry], rules: CropRules
) -> Iterator[str]:
    record = sample.record
    if (record.shard, record.row) != (shard.path, row):
        yield f"its record places it at row {record.row} of {record.shard}"
    if record.split != shard.split:
        yield f"a sample of the {record.split} split lies in a shard of the {shard.split} split"
    video = videos.get(record.video_id)
    if video is not None:
        for name in VIDEO_FIELDS:
            if getattr(record, name) != getattr(video, name):
                yield f"{name} is {getattr(record, name)!r}, and {getattr(video, name)!r} for its video"
    yield from check_sample(sample, rules)


def _compare(shard: str, row: int, found: SampleRecord, listed: SampleRecord | None) -> list[Problem]:
    """Problems of samples.parquet: a sample that it does not list, or lists with other values."""
    if listed is None:
        return [Problem(SAMPLES_FILE, f"row {row} of {shard} is not listed", sample_id=found.sample_id)]
    return [
        Problem(
            SAMPLES_FILE,
            f"{name} is {getattr(listed, name)!r}, and {getattr(found, name)!r} in row {row} of {shard}",
            sample_id=found.sample_id,
        )
        for name in (field.name for field in dataclasses.fields(SampleRecord))
        if getattr(listed, name) != getattr(found, name)
    ]


def _sentence(error: Exception) -> str:
    return str(error).removesuffix(".")
