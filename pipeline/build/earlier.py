"""Results of an earlier run for a shard: groups that need not be processed again, and samples worth keeping."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from facemill import FacemillError
from facemill.manifests import ClipGroup, FailureRecord, FrameFaces, SampleRecord, VideoFacts, schemas
from facemill.manifests.checks.sample_checks import ImageCheck
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.state import ShardFile, ShardResult
from facemill.pipeline.extract.result import ClipResult

__all__ = ["EarlierShard"]

Record = TypeVar("Record", SampleRecord, FrameFaces, VideoFacts)
Item = TypeVar("Item")


class EarlierShard:
    """A committed shard whose files may have been damaged since.

    All samples of an undamaged shard are good. In a damaged one, a sample is good if its record equals that in the
    table of samples, and its image and mask match the record.
    """

    def __init__(self, root: Path, result: ShardResult, encoding: str) -> None:
        listed = _read_table(root, result.samples, SampleRecord)
        faces = _read_table(root, result.faces, FrameFaces)
        facts = _read_table(root, result.facts, VideoFacts)
        self._samples = _by_video(_good_samples(root, result, listed, encoding), lambda sample: sample.record.video_id)
        self._faces = _by_video(faces or (), lambda frame: frame.video_id)
        self._failures = _by_video(result.failures, lambda failure: failure.video_id)
        self._facts = _by_video(facts or (), lambda row: row.video_id)
        good = Counter({video_id: len(samples) for video_id, samples in self._samples.items()})
        self._listed = good if listed is None else Counter(record.video_id for record in listed)
        self._readable = None not in (faces, facts) and (listed is not None or good.total() == result.rows)

    def is_final(self, group: ClipGroup, *, retry_failed: bool) -> bool:
        """Whether the group's samples are complete and none of its failures is to be retried."""
        ids = [video.video_id for video in group.videos()]
        lacking = any(not self._samples[video.video_id] for video in group.sampled())
        again = any(failure.retryable for video_id in ids for failure in self._failures[video_id])
        whole = not any(self._lost(video_id) for video_id in ids)
        return self._readable and whole and not again and not (retry_failed and lacking)

    def result(self, group: ClipGroup) -> ClipResult:
        """The group's good samples, its detections and its failures."""
        ids = [video.video_id for video in group.videos()]
        return ClipResult(
            [sample for video_id in ids for sample in self._samples[video_id]],
            [frame for video_id in ids for frame in self._faces[video_id]],
            [failure for video_id in ids for failure in self._failures[video_id]],
            [row for video_id in ids for row in self._facts[video_id]],
        )

    def better(self, group: ClipGroup, new: ClipResult) -> ClipResult:
        """The new result; or the earlier one, if a fault of the environment made a video give fewer samples now."""
        now = Counter(sample.record.video_id for sample in new.samples)
        taken = [f for f in new.failures if f.retryable and now[f.video_id] < len(self._samples[f.video_id])]
        if not taken:
            return new
        earlier = self.result(group)
        lost = [
            self._missing(failure) for failure in new.failures if failure.retryable and self._lost(failure.video_id)
        ]
        return replace(earlier, failures=[*earlier.failures, *lost])

    def _lost(self, video_id: str) -> int:
        """Number of a video's committed samples that are no longer good."""
        return self._listed[video_id] - len(self._samples[video_id])

    def _missing(self, failure: FailureRecord) -> FailureRecord:
        lost, kept = self._lost(failure.video_id), len(self._samples[failure.video_id])
        message = f"{lost} samples of an earlier run are damaged, {kept} are kept: {failure.message}"
        return replace(failure, message=message, frames=lost)


def _read_table(root: Path, file: ShardFile, record_class: type[Record]) -> list[Record] | None:
    if not file.is_whole(root):
        return None
    return schemas.from_table(pq.read_table(root / file.path), record_class)


def _good_samples(
    root: Path, result: ShardResult, listed: list[SampleRecord] | None, encoding: str
) -> Iterator[EncodedSample]:
    """Yield the good samples in the shard's order, up to the point where it becomes unreadable."""
    if result.shard is None:
        return
    whole = result.shard.is_whole(root)
    known = {record.sample_id: record for record in listed or ()}
    with suppress(FacemillError, OSError, pa.ArrowException, ValueError):
        for sample in format_of(result.shard.path).read(root / result.shard.path):
            if whole or (known.get(sample.record.sample_id) == sample.record and _is_sound(sample, encoding)):
                yield sample


def _is_sound(sample: EncodedSample, encoding: str) -> bool:
    # Image annotations have no hash, so that changes to them would go unnoticed.
    return not sample.images and not any(ImageCheck(sample.record.crop_size, encoding).faults(sample))


def _by_video(items: Iterable[Item], video_id: Callable[[Item], str]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[video_id(item)].append(item)
    return found
