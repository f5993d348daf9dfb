"""Checks of a dataset as a whole: disjoint splits, samples or a failure for every video, correct counts."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import pyarrow as pa

from facemill.manifests.checks.columns import pc, words
from facemill.manifests.checks.sample_rows import RecipeFacts, Rows
from facemill.manifests.codes import MaskKind, Reason, Stage
from facemill.manifests.problem import Problem
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
    DatasetInfo,
    count_samples,
)
from facemill.manifests.validation import validate
from facemill.registry import SHARD_FORMATS

__all__ = [
    "check_accounts",
    "check_counts",
    "check_failures",
    "check_manifest",
    "check_masks_recorded",
    "check_order",
    "check_shard_list",
    "check_splits",
    "frames_lost",
    "unknown_videos",
]

SHARD_PATH = re.compile(r"(train|val|test)/\1-[0-9]{6,12}(\.[a-z]+)")
WHOLE_VIDEO_REASONS = {
    Reason.MISSING_FILE,
    Reason.UNREADABLE,
    Reason.NO_VIDEO_STREAM,
    Reason.WORKER_KILLED,
    Reason.INTERNAL_ERROR,
    Reason.NO_FACE,
    Reason.EXCLUDED,
}
"""Reasons that exclude samples of the video; a video that ends early or lacks masks can still have samples."""


def check_shard_list(root: Path, info: DatasetInfo, recipe: RecipeFacts) -> Iterator[Problem]:
    """dataset.json lists every shard once, under a path that a build assigns, and there are no other shards."""
    suffix = SHARD_FORMATS[recipe.shards.format].suffix
    for path, times in Counter(shard.path for shard in info.shards).items():
        if times > 1:
            yield Problem(DATASET_FILE, f"it lists the shard {path} {times} times", check="shard_twice")
    for shard in info.shards:
        named = SHARD_PATH.fullmatch(shard.path)
        if named is None or named[1] != shard.split:
            message = f"a shard of split {shard.split} is called {shard.path[:200]!r}, which is not a path of a shard"
            yield Problem(DATASET_FILE, message, check="shard_path")
        elif named[2] != suffix:
            message = f"the recipe writes {recipe.shards.format} shards, which end in {suffix}"
            yield Problem(shard.path, message, check="shard_format")
        if min(shard.rows, shard.bytes) < 0:
            yield Problem(DATASET_FILE, f"it has a negative count for {shard.path[:200]}", check="shard_counts")
    known = {shard.path for shard in info.shards}
    suffixes = {shard_format.suffix for shard_format in SHARD_FORMATS.values()}
    for file in sorted(root.glob("*/*")):
        name = file.relative_to(root).as_posix()
        if file.suffix in suffixes and file.parent.name != STATE_FOLDER and name not in known:
            yield Problem(name, f"{DATASET_FILE} does not list this shard", check="shard_unlisted")


def check_manifest(videos: Sequence[VideoEntry]) -> Iterator[Problem]:
    """The manifest follows the rules of `manifests.validation`."""
    for violation in validate(videos):
        yield Problem(VIDEOS_FILE, f"a rule is broken: {violation}", check=f"manifest_{violation.rule}")


def check_splits(videos: Sequence[VideoEntry], samples: pa.Table) -> Iterator[Problem]:
    """All samples of a video are in its split in the manifest."""
    assigned = {video.video_id: video.split for video in videos}
    for row in samples.group_by("video_id").aggregate([("split", "distinct")]).sort_by("video_id").to_pylist():
        found = row["split_distinct"]
        splits = sorted({*found, assigned.get(row["video_id"], found[0])})
        if len(splits) > 1:
            message = f"video {row['video_id']} is in more than one split: {', '.join(splits)}"
            yield Problem(SAMPLES_FILE, message, check="video_split")


def check_order(info: DatasetInfo, samples: pa.Table) -> Iterator[Problem]:
    """samples.parquet lists the samples in the order of dataset.json's shards and of the rows in them."""
    paths = {path: number for number, path in enumerate(dict.fromkeys(shard.path for shard in info.shards))}
    for row in samples.group_by("shard").aggregate([([], "count_all")]).sort_by("shard").to_pylist():
        if row["shard"] not in paths:
            message = f"{row['count_all']} rows refer to {row['shard'][:200]}, which is not in {DATASET_FILE}"
            yield Problem(SAMPLES_FILE, message, check="shard_known")
    shard = pc.fill_null(pc.index_in(samples["shard"], value_set=pa.array(paths, pa.string())), len(paths))
    place = pc.add(pc.multiply(pc.cast(shard, pa.int64()), 1 << 32), samples["row"]).to_numpy()
    if (falls := place[1:] < place[:-1]).any():
        message = f"its rows are not in the order of the shards and their rows: {falls.sum()} come after a later one"
        yield Problem(SAMPLES_FILE, message, int(falls.argmax()) + 1, check="order")


def check_accounts(videos: Sequence[VideoEntry], failures: pa.Table, samples: pa.Table) -> Iterator[Problem]:
    """Every video has samples or a failure, and every sample and failure has a video."""
    known = {video.video_id for video in videos}
    sampled, failed = (words(table["video_id"]) for table in (samples, failures))
    for file, found in ((SAMPLES_FILE, sampled), (FAILURES_FILE, failed)):
        yield from unknown_videos(file, found, known)
    expected = {video.video_id for video in videos if video.split != REFERENCE}
    for video_id in sorted(expected - sampled - failed):
        message = f"video {video_id} has neither samples nor a failure"
        yield Problem(VIDEOS_FILE, message, check="video_accounted")


def unknown_videos(file: str, found: Set[str], known: Set[str]) -> Iterator[Problem]:
    """Report videos that a file mentions and the manifest lacks."""
    for video_id in sorted(found - known):
        yield Problem(file, f"video {video_id} is not in {VIDEOS_FILE}", check="video_known")


def check_failures(failures: pa.Table, samples: pa.Table) -> Iterator[Problem]:
    """Each failure is listed once, with a known stage and reason; no video that failed as a whole has samples."""
    sampled, seen = words(samples["video_id"]), set()
    for row, failure in enumerate(failures.to_pylist()):
        what = f"{failure['reason']} of video {failure['video_id']}"
        if (values := tuple(failure.values())) in seen:
            yield Problem(FAILURES_FILE, f"{what} is listed twice", row, check="failure_twice")
        seen.add(values)
        if failure["stage"] not in set(Stage) or failure["reason"] not in set(Reason):
            message = f"{failure['stage']} and {failure['reason']} are not a known stage and reason"
            yield Problem(FAILURES_FILE, message, row, check="failure_names")
        elif failure["retryable"] != Reason(failure["reason"]).retryable:
            yield Problem(FAILURES_FILE, f"{what} has the wrong value of retryable", row, check="failure_retryable")
        if not failure["message"].strip():
            yield Problem(FAILURES_FILE, f"{what} has no message", row, check="failure_message")
        if failure["frames"] < 0:
            message = f"{what} concerns {failure['frames']} frames, which is below 0"
            yield Problem(FAILURES_FILE, message, row, check="failure_frames")
        if failure["frames"] == 0 and failure["reason"] in WHOLE_VIDEO_REASONS and failure["video_id"] in sampled:
            message = f"{what} concerns the whole video, but the video has samples"
            yield Problem(FAILURES_FILE, message, row, check="failure_samples")


def check_masks_recorded(rows: Rows, failures: pa.Table) -> Iterator[Problem]:
    """failures.parquet records the samples without a mask, or whose mask is empty or unreliable."""
    empty = rows.equal("label", 1) & (rows.numbers("mask_coverage") == 0)
    empty &= ~rows.equal("mask_kind", MaskKind.UNRELIABLE)
    found = Counter(rows["video_id"].filter(pa.array(empty)).to_pylist())
    recorded = frames_lost(failures.filter(pc.field("reason") == Reason.MASK_EMPTY.value))
    for video_id, count in sorted((found - recorded).items()):
        message = f"{count} more samples of the fake {video_id} have an empty mask than {FAILURES_FILE} records"
        yield Problem(SAMPLES_FILE, message, check="mask_empty")
    for kind, reason in ((MaskKind.NONE, Reason.MASK_UNAVAILABLE), (MaskKind.UNRELIABLE, Reason.MASK_UNRELIABLE)):
        recorded_ids = words(failures.filter(pc.field("reason") == reason.value)["video_id"])
        without = words(rows["video_id"].filter(pa.array(rows.equal("mask_kind", kind) & ~rows.cropped)))
        for video_id in sorted(without - recorded_ids):
            message = f"samples of the fake {video_id} have the mask_kind {kind}, which {FAILURES_FILE} does not record"
            yield Problem(SAMPLES_FILE, message, check="mask_recorded")


def frames_lost(failures: pa.Table) -> Counter[str]:
    """The frames that failures concern, by video."""
    counted = failures.group_by("video_id").aggregate([("frames", "sum")]).to_pylist()
    return Counter({str(row["video_id"]): row["frames_sum"] for row in counted})


def check_counts(info: DatasetInfo, failures: pa.Table, samples: pa.Table) -> Iterator[Problem]:
    """The counts of dataset.json match the tables."""
    if len(failures) != info.failures:
        message = f"it counts {info.failures} failures, but {FAILURES_FILE} has {len(failures)}"
        yield Problem(DATASET_FILE, message, check="failure_count")
    if info.counts != count_samples([samples]):
        message = f"its counts by split and method differ from {SAMPLES_FILE}"
        yield Problem(DATASET_FILE, message, check="sample_counts")
