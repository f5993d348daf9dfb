"""What must be true of a dataset as a whole: splits that share nothing, and no video unaccounted for."""

from collections.abc import Iterator, Sequence, Set

import pyarrow as pa
import pyarrow.compute as pc

from facemill.manifests.problem import Problem
from facemill.manifests.records import REFERENCE, FailureRecord, VideoEntry
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    VIDEOS_FILE,
    DatasetInfo,
    count_samples,
)
from facemill.manifests.validation import validate

__all__ = ["SAMPLE_COLUMNS", "check_counts", "check_ids", "check_manifest", "check_splits", "unknown_videos"]

SAMPLE_COLUMNS = ["sample_id", "video_id", "split", "method"]
"""The columns of samples.parquet that these checks look at, all rows at once."""


def check_manifest(videos: Sequence[VideoEntry]) -> Iterator[Problem]:
    """The manifest keeps its rules."""
    return (Problem(VIDEOS_FILE, f"a rule is broken: {violation}") for violation in validate(videos))


def check_splits(videos: Sequence[VideoEntry], samples: pa.Table) -> Iterator[Problem]:
    """All samples of a video are in the split that the manifest gives it."""
    assigned = {video.video_id: video.split for video in videos}
    splits_of: dict[str, set[str]] = {}
    for row in samples.select(["video_id", "split"]).group_by(["video_id", "split"]).aggregate([]).to_pylist():
        splits_of.setdefault(row["video_id"], set()).add(row["split"])
    for video_id, found in sorted(splits_of.items()):
        splits = sorted(found | {assigned.get(video_id, min(found))})
        if len(splits) > 1:
            yield Problem(SAMPLES_FILE, f"video {video_id} is in more than one split: {', '.join(splits)}")


def check_ids(videos: Sequence[VideoEntry], failures: Sequence[FailureRecord], samples: pa.Table) -> Iterator[Problem]:
    """No two samples share an id; every video has samples or a failure, and nothing else has."""
    repeated = samples.group_by("sample_id").aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)
    for row in repeated.sort_by("sample_id").to_pylist():
        yield Problem(SAMPLES_FILE, f"this sample_id is used {row['count_all']} times", sample_id=row["sample_id"])
    known = {video.video_id for video in videos}
    sampled = {str(video_id) for video_id in pc.unique(samples["video_id"]).to_pylist()}
    failed = {failure.video_id for failure in failures}
    for file, found in ((SAMPLES_FILE, sampled), (FAILURES_FILE, failed)):
        yield from unknown_videos(file, found, known)
    owed = {video.video_id for video in videos if video.split != REFERENCE}
    for video_id in sorted(owed - sampled - failed):
        yield Problem(VIDEOS_FILE, f"video {video_id} has neither samples nor a failure")


def unknown_videos(file: str, found: Set[str], known: Set[str]) -> Iterator[Problem]:
    """Videos that a file speaks of and the manifest does not know."""
    return (Problem(file, f"video {video_id} is not in {VIDEOS_FILE}") for video_id in sorted(found - known))


def check_counts(info: DatasetInfo, failures: Sequence[FailureRecord], samples: pa.Table) -> Iterator[Problem]:
    """dataset.json counts what is there."""
    if len(failures) != info.failures:
        yield Problem(DATASET_FILE, f"it counts {info.failures} failures, and {FAILURES_FILE} has {len(failures)}")
    if info.counts != count_samples(samples):
        yield Problem(DATASET_FILE, f"its counts by split and method are not those of {SAMPLES_FILE}")
