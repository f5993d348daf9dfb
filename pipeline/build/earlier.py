"""Results of an earlier run for a shard: groups that need not be processed again, and samples worth keeping."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
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
from facemill.pipeline.extract.result import ClipResult

__all__ = ["EarlierShard"]

Record = TypeVar("Record", SampleRecord, FrameFaces, VideoFacts)
Item = TypeVar("Item")


class EarlierShard:
    """A committed shard whose files may have been damaged since.

    All samples of an undamaged shard are good. In a damaged one, a sample is good if its image and mask, where the
    table of samples says that they are, match its record in that table.
    """

    def __init__(self, root: Path, result: ShardResult, encoding: str) -> None:
        listed = _read_table(root, result.samples)
        faces = _records(_read_table(root, result.faces), FrameFaces)
        facts = _records(_read_table(root, result.facts), VideoFacts)
        self._samples = _by_video(_good_samples(root, result, listed, encoding), lambda sample: sample.record.video_id)
        self._faces = _by_video(faces or (), lambda frame: frame.video_id)
        self._failures = _by_video(result.failures, lambda failure: failure.video_id)
        self._facts = _by_video(facts or (), lambda row: row.video_id)
        good = Counter({video_id: len(samples) for video_id, samples in self._samples.items()})
        self._listed = good if listed is None else Counter(listed["video_id"].to_pylist())
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
            yield from (sample for sample in _samples_at(file, listed) if _is_sound(sample, encoding))


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


def _is_sound(sample: EncodedSample, encoding: str) -> bool:
    return not any(ImageCheck(sample.record.crop_size, encoding).faults(sample))


def _by_video(items: Iterable[Item], video_id: Callable[[Item], str]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[video_id(item)].append(item)
    return found
