"""A package of somebody else's, with one of each thing that can be added to facemill."""

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from facemill.detectors.face.base import Detections, Face, FaceDetector
from facemill.manifests import Reason, SampleRecord
from facemill.manifests.annotations import Annotation, Annotations, samples_schema
from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.export.base import ExportReport
from facemill.manifests.scanning.listing import list_files
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.schemas import SAMPLES, from_table, to_table
from facemill.manifests.shards.base import EncodedSample, ShardFormat, placed
from facemill.manifests.shards.dataset import read_dataset
from facemill.options import Options
from facemill.pipeline.build.executors.sequential import SequentialExecutor
from facemill.pipeline.extract.annotators import Annotator
from facemill.pipeline.extract.filters import Filter


class Twins(DatasetAdapter):
    """Pairs of videos below `youtube` and `Deepfakes`."""

    name = "twins"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        listing = list_files(root)
        report = ScanReport(listing.root, self.published)
        drafts = []
        for path in listing.paths:
            if match := re.search(r"(youtube|Deepfakes)/c23/videos/(\d+)(_\d+)?\.mp4", path):
                real, name = match[1] == "youtube", match[2] + (match[3] or "")
                split = ("train", "train", "val", "test")[int(match[2]) // 2 % 4]
                original = None if real else match[2]
                drafts.append(Draft(path, "real" if real else "swap", name, split=split, original=original))
        enter(report, self.name, drafts, quality, official=official)
        return report


class CentreOptions(Options):
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the frame's height."""


class Centre(FaceDetector):
    """Takes the middle of each frame for a face."""

    options_type = CentreOptions
    cpu_pixels = gpu_pixels = 1 << 24
    smallest_face = 40.0

    @classmethod
    def create(cls, *, variant: str | None, weights: Path | None, device: str, options: Any, **settings: Any) -> Self:
        detector = cls(**settings)
        detector.share = options.share
        return detector

    share: float

    def _detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> Detections:
        height, width = frames[0].shape[:2]
        side, count = height * self.share, len(frames)
        left, top = (width - side) / 2, (height - side) / 2
        points = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]]) * side + [left, top]
        return Detections(
            frame=np.arange(count),
            boxes=np.tile(np.float32([left, top, left + side, top + side]), (count, 1)),
            scores=np.full(count, 0.99, np.float32),
            landmarks=np.tile(points.astype(np.float32), (count, 1, 1)),
        )


class DarkOptions(Options):
    least: float = 1.0
    """Mean gray level, 0 to 255."""


class Dark(Filter):
    """Drops crops that are dark."""

    options_type = DarkOptions

    def reason(self, face: Face, crop: NDArray[np.uint8]) -> Reason | None:
        return Reason.FILTERED if crop.mean() < self.options.least else None


class EdgesOptions(Options):
    size: Annotated[int, Field(ge=1)] = 16
    """Side of the map, pixels."""


class Edges(Annotator):
    """A map of edges, its mean in each quarter, and on which side there are more."""

    options_type = EdgesOptions
    outputs: Mapping[str, Annotation] = {
        "map": Annotation("image", "strength of edges"),
        "quarters": Annotation("float[4]", "mean of the map in each quarter"),
        "count": Annotation("int", "pixels above 64"),
        "side": Annotation("text", "left or right, whichever has more edges"),
    }

    def annotate(
        self, frame: NDArray[np.uint8], face: Face, crop: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> dict[str, Any]:
        gray = cv2.resize(crop, (self.options.size, self.options.size), interpolation=cv2.INTER_AREA).mean(axis=2)
        edges = np.abs(np.gradient(gray)).max(axis=0).clip(0, 255).astype(np.uint8)
        quarters = [part.mean() for half in np.array_split(edges, 2) for part in np.array_split(half, 2, axis=1)]
        left, right = quarters[0] + quarters[2], quarters[1] + quarters[3]
        return {
            "map": edges,
            "quarters": np.array(quarters),
            "count": np.count_nonzero(edges > 64),
            "side": "left" if left > right else "right",
        }


class Lines(ShardFormat):
    """A JSON object a line."""

    name = "lines"
    suffix = ".jsonl"

    @contextmanager
    def open_writer(self, path: Path, shard: str, annotations: Annotations) -> Iterator["_LineWriter"]:
        with path.open("w") as file:
            yield _LineWriter(file, shard, samples_schema(annotations))

    def read(self, path: Path) -> Iterator[EncodedSample]:
        with path.open() as file:
            for line in file:
                row, pictures = json.loads(line)
                known = {name: row.pop(name) for name in SAMPLES.names}
                [record] = from_table(pa.Table.from_pylist([known], SAMPLES), SampleRecord)
                more = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
                record = dataclasses.replace(record, annotations=more)
                image, mask, *more = (base64.b64decode(text) for text in pictures.values())
                yield EncodedSample(record, image, mask, dict(zip(list(pictures)[2:], more, strict=True)))


class _LineWriter:
    def __init__(self, file: Any, shard: str, schema: pa.Schema) -> None:
        self.file, self.shard, self.schema, self.row = file, shard, schema, 0

    def write(self, sample: EncodedSample) -> SampleRecord:
        record = placed(sample, self.shard, self.row, self.schema)
        self.row += 1
        pictures = {"image": sample.image, "mask": sample.mask, **sample.images}
        encoded = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
        self.file.write(json.dumps([*to_table([record], self.schema).to_pylist(), encoded]) + "\n")
        return record


class Here(SequentialExecutor):
    """Says that it runs."""

    def run(self, function: Any, tasks: Any, *rest: Any) -> Iterator[Any]:
        for outcome in super().run(function, tasks, *rest):
            print("a task of the plug-in's executor ended")
            yield outcome


def export_names(
    folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None]
) -> ExportReport:
    """Write the ids of the samples into one file."""
    from facemill.manifests.shards import format_of

    out.mkdir(parents=True)
    names = [s.record for shard in read_dataset(folder).shards for s in format_of(shard.path).read(folder / shard.path)]
    (out / "names.txt").write_text("\n".join(record.sample_id for record in names))
    on_samples(len(names))
    return ExportReport(out, len(names), len({record.video_id for record in names}), ())


def __getattr__(name: str) -> Any:
    """`Probe`, which alone needs torch, only where it is asked for."""
    if name != "Probe":
        raise AttributeError(name)
    from torch import Tensor, nn

    from facemill.detectors.forgery import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec

    class ProbeOptions(ForgeryOptions):
        size: int = 32
        width: int = 4

    class Probe(ForgeryDetector):
        options_type = ProbeOptions

        def __init__(self, options: ProbeOptions) -> None:
            super().__init__(options)
            self.input_spec = InputSpec(options.size)
            self.conv = nn.Conv2d(3, options.width, 3, stride=2)
            self.head = nn.Linear(options.width, 1)

        @property
        def cam_layer(self) -> nn.Module:
            return self.conv

        def forward(self, images: Tensor) -> ForgeryOutput:
            return ForgeryOutput(self.head(self.conv(images).relu().mean((2, 3)))[:, 0])

    return Probe
