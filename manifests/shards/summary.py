"""What is in a built dataset, in numbers: samples and videos, masks, failures, and where the time went."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemill import DatasetError
from facemill.manifests.records import SPLITS
from facemill.manifests.schemas import FAILURES, SAMPLES, VIDEOS
from facemill.manifests.shards.dataset import FAILURES_FILE, SAMPLES_FILE, STATE_FOLDER, VIDEOS_FILE, read_dataset

__all__ = ["FailureCount", "MaskCount", "SampleCount", "Summary", "SummaryTable", "summarise"]


@dataclass(frozen=True, slots=True)
class SampleCount:
    """Samples of one split, method and quality, and of how many videos they are."""

    split: str
    method: str
    quality: str
    samples: int
    videos: int


@dataclass(frozen=True, slots=True)
class MaskCount:
    """Samples with one kind of mask; `mean_coverage` is the mean forged share of the crop, None without masks."""

    kind: str
    samples: int
    mean_coverage: float | None


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failures of one stage and reason: rows of failures.parquet, and frames where single frames failed."""

    stage: str
    reason: str
    videos: int
    frames: int


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """A part of a summary as text, for a terminal to lay out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What `facemill inspect` shows.

    Attributes:
        samples: by split, method and quality; splits in their usual order, reals first.
        seconds: time spent by stage, summed over all shards (and so over all workers), longest first.
        videos: how many the manifest lists.
    """

    samples: tuple[SampleCount, ...]
    masks: tuple[MaskCount, ...]
    failures: tuple[FailureCount, ...]
    seconds: dict[str, float]
    videos: int = 0

    def verdict(self) -> str | None:
        """What there is to say of a dataset that is empty, or of which most videos gave no sample; else None."""
        sampled = sum(count.videos for count in self.samples)
        if 2 * sampled >= max(self.videos, 1):
            return None
        why = f"; most often for {self.failures[0].reason}" if self.failures else ""
        what = "The dataset is empty" if not sampled else "Most videos gave no sample"
        return f"{what}: {self.videos - sampled:,} of {self.videos:,} videos failed{why}."

    def tables(self) -> list[SummaryTable]:
        """The summary as text; parts about which there is nothing to say are left out."""
        spent = sum(self.seconds.values()) or 1.0
        parts = [
            SummaryTable(
                "Samples",
                ("split", "method", "quality", "samples", "videos"),
                tuple((s.split, s.method, s.quality, f"{s.samples:,}", f"{s.videos:,}") for s in self.samples),
            ),
            SummaryTable(
                "Masks",
                ("kind", "samples", "mean coverage"),
                tuple((m.kind, f"{m.samples:,}", _percent(m.mean_coverage)) for m in self.masks),
            ),
            SummaryTable(
                "Failures",
                ("stage", "reason", "videos", "frames"),
                tuple((f.stage, f.reason, f"{f.videos:,}", f"{f.frames:,}") for f in self.failures),
            ),
            SummaryTable(
                "Time",
                ("stage", "seconds", "share"),
                tuple((stage, f"{seconds:,.1f}", _percent(seconds / spent)) for stage, seconds in self.seconds.items()),
            ),
        ]
        return [part for part in parts if part.rows]


def summarise(root: Path) -> Summary:
    """Count what a built dataset holds; pictures are not read.

    Raises:
        DatasetError: for a build that is not finished, or whose tables cannot be read.
    """
    read_dataset(root)
    columns = ["split", "method", "quality", "video_id", "mask_kind", "mask_coverage"]
    samples = _columns(root / SAMPLES_FILE, SAMPLES, columns)
    failures = _columns(root / FAILURES_FILE, FAILURES, ["stage", "reason", "video_id", "frames"])
    videos = len(_columns(root / VIDEOS_FILE, VIDEOS, ["video_id"]))
    counts = _count_samples(samples), _count_masks(samples), _count_failures(failures)
    return Summary(*counts, _sum_timings(root), videos)


def _count_samples(samples: pa.Table) -> tuple[SampleCount, ...]:
    keys = ["split", "method", "quality"]
    grouped = samples.group_by(keys).aggregate([("video_id", "count"), ("video_id", "count_distinct")])
    counts = [SampleCount(*row.values()) for row in grouped.to_pylist()]
    order = {split: place for place, split in enumerate(SPLITS)}
    return tuple(
        sorted(counts, key=lambda c: (order.get(c.split, len(order)), c.split, c.method != "real", c.method, c.quality))
    )


def _count_masks(samples: pa.Table) -> tuple[MaskCount, ...]:
    grouped = samples.group_by("mask_kind").aggregate([("mask_kind", "count"), ("mask_coverage", "mean")])
    return tuple(MaskCount(*row.values()) for row in grouped.sort_by("mask_kind").to_pylist())


def _count_failures(failures: pa.Table) -> tuple[FailureCount, ...]:
    grouped = failures.group_by(["stage", "reason"]).aggregate([("video_id", "count_distinct"), ("frames", "sum")])
    counts = [FailureCount(*row.values()) for row in grouped.to_pylist()]
    return tuple(sorted(counts, key=lambda c: (-c.videos, c.stage, c.reason)))


def _sum_timings(root: Path) -> dict[str, float]:
    """Seconds by stage, from the results that the shards left in the state folder."""
    seconds: Counter[str] = Counter()
    for path in sorted((root / STATE_FOLDER).glob("*-*.json")):
        try:
            seconds.update(json.loads(path.read_bytes())["timings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is no shard's result ({error!r}): run the build again.") from None
    return dict(seconds.most_common())


def _columns(path: Path, schema: pa.Schema, names: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(names).cast(pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): run `facemill verify {path.parent}`.") from None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
