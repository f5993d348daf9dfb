"""Results of an earlier run for a shard: groups that need not be processed again, and samples worth keeping."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from facemill.manifests import ClipGroup, FailureRecord, FrameFaces, SampleRecord, VideoFacts, schemas
from facemill.manifests.annotations import PLACE
from facemill.manifests.checks.sample_checks import ImageCheck
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.state import ShardFile, ShardResult
from facemill.pipeline.extract.result import ClipResult, merged

__all__ = ["EarlierShard"]

Record = TypeVar("Record", SampleRecord, FrameFaces, VideoFacts)


class EarlierShard:
    """A committed shard whose files may have been damaged since.

    All samples of an undamaged shard are good. In a damaged one, a sample is good if its image and mask, where the
    table of samples says that they are, match its record in that table.
    """

    def __init__(self, root: Path, result: ShardResult, encoding: str) -> None:
        listed = _read_table(root, result.samples)
        faces = _records(_read_table(root, result.faces), FrameFaces)
        facts = _records(_read_table(root, result.facts), VideoFacts)
        self._of: dict[str, ClipResult] = defaultdict(lambda: ClipResult([], [], []))  # by video
        good: Counter[str] = Counter()
        for sample in _good_samples(root, result, listed, encoding):
            self._of[sample.record.video_id].samples.append(sample)
            good[sample.record.video_id] += 1
        for frame in faces or ():
            self._of[frame.video_id].faces.append(frame)
        for failure in result.failures:
            self._of[failure.video_id].failures.append(failure)
        for row in facts or ():
            self._of[row.video_id].facts.append(row)
        self._listed = good if listed is None else Counter(listed["video_id"].to_pylist())
        self._readable = None not in (faces, facts) and (listed is not None or good.total() == result.rows)

    def is_final(self, group: ClipGroup, *, retry_failed: bool) -> bool:
        """Whether the group's samples are complete and none of its failures is to be retried."""
        ids = [video.video_id for video in group.videos()]
        lacking = any(not self._of[video.video_id].samples for video in group.sampled())
        again = any(failure.retryable for video_id in ids for failure in self._of[video_id].failures)
        whole = not any(self._lost(video_id) for video_id in ids)
        return self._readable and whole and not again and not (retry_failed and lacking)

    def result(self, group: ClipGroup) -> ClipResult:
        """The group's good samples, its detections and its failures."""
        return merged(self._of[video.video_id] for video in group.videos())

    def better(self, group: ClipGroup, new: ClipResult) -> ClipResult:
        """The new result; or the earlier one, if a fault of the environment made a video give fewer samples now."""
        now = Counter(sample.record.video_id for sample in new.samples)
        taken = [f for f in new.failures if f.retryable and now[f.video_id] < len(self._of[f.video_id].samples)]
        if not taken:
            return new
        earlier = self.result(group)
        lost = [self._missing(f) for f in new.failures if f.retryable and self._lost(f.video_id)]
        return replace(earlier, failures=[*earlier.failures, *lost])

    def _lost(self, video_id: str) -> int:
        """Number of a video's committed samples that are no longer good."""
        return self._listed[video_id] - len(self._of[video_id].samples)

    def _missing(self, failure: FailureRecord) -> FailureRecord:
        lost, kept = self._lost(failure.video_id), len(self._of[failure.video_id].samples)
        message = f"{lost} samples of an earlier run are damaged, {kept} are kept: {failure.message}"
        return replace(failure, message=message, frames=lost)


def _read_table(root: Path, file: ShardFile) -> pa.Table | None:
    return pq.read_table(root / file.path) if file.is_whole(root) else None


def _records(table: pa.Table | None, record_class: type[Record]) -> list[Record] | None:
    return None if table is None else schemas.from_table(table, record_class)


def _good_samples(root: Path, result: ShardResult, listed: pa.Table | None, encoding: str) -> Iterator[EncodedSample]:
    """Yield the good samples in the shard's order."""
    if result.shard is None:
        return
    path = root / result.shard.path
    if result.shard.is_whole(root):
        yield from format_of(result.shard.path).read(path)
    elif listed is not None and path.is_file():
        with path.open("rb") as file:
            for sample in _samples_at(file, listed):
                if not any(ImageCheck(sample.record.crop_size, encoding).faults(sample)):
                    yield sample


def _samples_at(file: BinaryIO, listed: pa.Table) -> Iterator[EncodedSample]:
    """Read the samples of a damaged shard from the places that are listed, whatever else of it is lost."""
    images = [column.name for column in listed.schema if column.type == PLACE]
    if sorted(images) != ["image", "mask"]:  # image annotations have no hash: changes to them would go unnoticed
        return
    records = schemas.from_table(listed.drop_columns(images), SampleRecord)
    for record, places in zip(records, listed.select(images).to_pylist(), strict=True):
        encoded = dict.fromkeys(images, b"")
        with suppress(OSError, TypeError):  # a bad sector, or no place in a file of another library
            for name, place in places.items():
                file.seek(place["offset"])
                encoded[name] = file.read(place["size"])
        yield EncodedSample(record, encoded["image"], encoded["mask"])
