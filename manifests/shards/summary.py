"""Statistics of a built dataset: samples and videos, masks, failures, and time per stage."""

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import DatasetError, ManifestError
from facemill.manifests.checks.bounded import read_table
from facemill.manifests.printable import shorten
from facemill.manifests.records import LABELS
from facemill.manifests.remote import here
from facemill.manifests.schemas import FAILURES, SAMPLES, VIDEOS
from facemill.manifests.shards.dataset import FAILURES_FILE, SAMPLES_FILE, VIDEOS_FILE, read_dataset, split_order
from facemill.manifests.shards.state_summary import DeviceCount, read_state

__all__ = [
    "DeviceCount",
    "FaceSpread",
    "FailureCount",
    "MaskCount",
    "PeopleCount",
    "Quantiles",
    "SampleCount",
    "Summary",
    "SummaryTable",
    "summarise",
]

PERCENTILES = ("5 %", "25 %", "50 %", "75 %", "95 %")


@dataclass(frozen=True, slots=True)
class SampleCount:
    """Number of samples of one split, method and quality, and of their videos."""

    split: str
    method: str
    quality: str
    samples: int
    videos: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The 5th, 25th, 50th, 75th and 95th percentiles of a distribution."""

    low: float
    lower: float
    median: float
    upper: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Quantiles":
        return cls(*np.percentile(values, (5, 25, 50, 75, 95)).tolist())


@dataclass(frozen=True, slots=True)
class MaskCount:
    """Samples of one method with one kind of mask.

    Attributes:
        empty: number of samples whose mask is all zero.
        mean: mean forged share of the crop; None, like `spread`, if there are no masks.
    """

    method: str
    kind: str
    samples: int
    empty: int
    mean: float | None
    spread: Quantiles | None


@dataclass(frozen=True, slots=True)
class FaceSpread:
    """Distribution of a property of faces, such as their size, over the samples of a label."""

    what: str
    label: str
    spread: Quantiles


@dataclass(frozen=True, slots=True)
class PeopleCount:
    """Number of videos that have samples of a given number of people."""

    people: int
    videos: int


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failures of one stage and reason: number of videos, and of frames if single frames failed.

    Attributes:
        names: ids of the videos, in the order of failures.parquet.
    """

    stage: str
    reason: str
    videos: int
    frames: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """A part of a summary as text, for display in a terminal."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of `facemill inspect`.

    Attributes:
        samples: by split, method and quality; ordered train, val, test, with reals first.
        seconds: time per stage, summed over all shards (and thus over all workers), longest first.
        videos: number of videos in the manifest.
        device: hardware that the dataset was built on.
        devices: use of each device, by host.
    """

    samples: tuple[SampleCount, ...]
    masks: tuple[MaskCount, ...]
    faces: tuple[FaceSpread, ...]
    people: tuple[PeopleCount, ...]
    failures: tuple[FailureCount, ...]
    seconds: dict[str, float]
    videos: int = 0
    device: str = ""
    devices: tuple[DeviceCount, ...] = ()

    def verdict(self) -> str | None:
        """A warning if the dataset is empty, or if most videos yielded no sample; otherwise None."""
        sampled = sum(count.videos for count in self.samples)
        if 2 * sampled >= max(self.videos, 1):
            return None
        why = f"; most often for {self.failures[0].reason}" if self.failures else ""
        what = "The dataset is empty" if not sampled else "Most videos yielded no sample"
        return f"{what}: {self.videos - sampled:,} of {self.videos:,} videos failed{why}."

    def tables(self) -> list[SummaryTable]:
        """The summary as text, without empty tables."""
        spent = sum(self.seconds.values()) or 1.0
        parts = [
            SummaryTable(
                "Samples",
                ("split", "method", "quality", "samples", "videos"),
                tuple((s.split, s.method, s.quality, f"{s.samples:,}", f"{s.videos:,}") for s in self.samples),
            ),
            SummaryTable(
                "Masks: forged share of the crop",
                ("method", "kind", "samples", "empty", "mean", *PERCENTILES[::2]),
                tuple(
                    (m.method, m.kind, f"{m.samples:,}", f"{m.empty:,}", _percent(m.mean), *_shares(m.spread))
                    for m in self.masks
                ),
            ),
            SummaryTable(
                "Faces",
                ("what", "label", *PERCENTILES),
                tuple((f.what, f.label, *map(_number, astuple(f.spread))) for f in self.faces),
            ),
            SummaryTable("People", ("people", "videos"), tuple((f"{p.people}", f"{p.videos:,}") for p in self.people)),
            SummaryTable(
                "Failures",
                ("stage", "reason", "videos", "frames", "which"),
                tuple(
                    (f.stage, f.reason, f"{f.videos:,}", f"{f.frames:,}", shorten(f.names, 3)) for f in self.failures
                ),
            ),
            SummaryTable(
                "Time",
                ("stage", "seconds", "share"),
                tuple((stage, f"{seconds:,.1f}", _percent(seconds / spent)) for stage, seconds in self.seconds.items()),
            ),
            SummaryTable(
                f"Devices: {self.device}" if self.device else "Devices",
                ("host", "device", "clips", "batches halved", "decoded on the CPU", "busy", "decoders busy"),
                tuple(
                    (
                        *(d.host, d.device),
                        *(f"{number:,}" for number in (d.clips, d.halvings, d.on_cpu)),
                        *("" if share is None else _percent(share) for share in (d.busy, d.decoding)),
                    )
                    for d in self.devices
                ),
            ),
        ]
        return [part for part in parts if part.rows]


def summarise(root: str | Path) -> Summary:
    """Summarise a built dataset; images are not read.

    Examples:
        >>> {row.method for row in facemill.inspect("shards").masks} >= {"Deepfakes"}
        True

    Raises:
        DatasetError: for a build that is not finished, or whose tables cannot be read.
    """
    root = here(root)
    info = read_dataset(root)
    samples, failures = (
        _table(root / name, schema) for name, schema in ((SAMPLES_FILE, SAMPLES), (FAILURES_FILE, FAILURES))
    )
    seconds, devices = read_state(root)
    return Summary(
        _count_samples(samples),
        _count_masks(samples),
        _spread_of_faces(samples),
        _count_people(samples),
        _count_failures(failures),
        seconds,
        len(_table(root / VIDEOS_FILE, VIDEOS)),
        info.device,
        devices,
    )


def _count_samples(samples: pa.Table) -> tuple[SampleCount, ...]:
    keys = ["split", "method", "quality"]
    grouped = samples.group_by(keys).aggregate([("video_id", "count"), ("video_id", "count_distinct")])
    counts = [SampleCount(*row.values()) for row in grouped.to_pylist()]
    return tuple(sorted(counts, key=lambda c: (*split_order(c.split), c.method != "real", c.method, c.quality)))


def _count_masks(samples: pa.Table) -> tuple[MaskCount, ...]:
    groups = samples.group_by(["method", "mask_kind"]).aggregate([("mask_coverage", "list")])
    counts = []
    for row in groups.to_pylist():
        coverage = np.array([value for value in row["mask_coverage_list"] if value is not None], np.float64)
        mean, spread = (float(coverage.mean()), Quantiles.of(coverage)) if len(coverage) else (None, None)
        empty, total = int((coverage == 0).sum()), len(row["mask_coverage_list"])
        counts.append(MaskCount(row["method"], row["mask_kind"], total, empty, mean, spread))
    return tuple(sorted(counts, key=lambda count: (count.method != "real", count.method, count.kind)))


def _spread_of_faces(samples: pa.Table) -> tuple[FaceSpread, ...]:
    vectors: Any = samples["bbox"].combine_chunks()
    boxes = vectors.flatten().to_numpy().reshape(-1, 4)
    labels = samples["label"].to_numpy()
    properties = {
        "shorter side, pixels": (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf),
        "detector's score": samples["score"].to_numpy(),
    }
    return tuple(
        FaceSpread(what, name, Quantiles.of(values[labels == label]))
        for what, values in properties.items()
        for label, name in enumerate(LABELS)
        if (labels == label).any()
    )


def _count_people(samples: pa.Table) -> tuple[PeopleCount, ...]:
    people = samples.group_by("video_id").aggregate([("track_id", "count_distinct")])["track_id_count_distinct"]
    numbers, videos = np.unique(people.to_numpy(), return_counts=True)
    return tuple(map(PeopleCount, numbers.tolist(), videos.tolist()))


def _count_failures(failures: pa.Table) -> tuple[FailureCount, ...]:
    grouped = failures.group_by(["stage", "reason"], use_threads=False)
    rows = grouped.aggregate([("video_id", "list"), ("frames", "sum")]).to_pylist()
    counts = []
    for row in rows:
        names = tuple(dict.fromkeys(row["video_id_list"]))
        counts.append(FailureCount(row["stage"], row["reason"], len(names), row["frames_sum"], names))
    return tuple(sorted(counts, key=lambda c: (-c.videos, c.stage, c.reason)))


def _table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        return read_table(path, schema)
    except (ManifestError, pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): run `facemill verify {path.parent}`.") from None


def _number(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.3f}"


def _shares(spread: Quantiles | None) -> tuple[str, ...]:
    return tuple(map(_percent, (astuple(spread) if spread else (None,) * len(PERCENTILES))[::2]))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
