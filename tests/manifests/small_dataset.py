"""A small built dataset, made by hand: four videos, nine samples, two shards. Tests damage it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from facemill.manifests.codes import MaskKind, Reason, Stage
from facemill.manifests.records import FailureRecord, FrameFaces, SampleRecord, VideoEntry, VideoFacts
from facemill.manifests.schemas import FACES, FACTS, FAILURES, SAMPLES, VIDEOS, to_table
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    CARD_FILE,
    CROISSANT_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    STATE_TABLES,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    count_samples,
    write_dataset,
)
from facemill.manifests.storage import sha256_of
from facemill.manifests.videos import manifest_digest
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.state import ShardFile, ShardResult, save_result
from facemill.registry import SHARD_FORMATS

SIZE = 64
RECIPE = {
    "name": "small",
    "paper": None,
    "seed": 0,
    "sample": {"strategy": "uniform", "frames": 3, "every": None},
    "detect": {"detector": "mtcnn", "on": "pristine", "min_score": 0.9},
    "crop": {"size": SIZE, "scale": 1.3, "align": "none", "around": "face"},
    "mask": {"source": "both", "threshold": "auto"},
    "filter": {"min_face": 40.0, "min_sharpness": 0.0},
    "encode": {"format": "png", "quality": 95},
    "shards": {"format": "parquet", "samples_per_shard": 6},
}


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def square_mask(size: int = SIZE) -> np.ndarray:
    """A mask [size, size] of which a quarter is forged."""
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size * 3 // 4, size // 4 : size * 3 // 4] = 255
    return mask


@cache
def make_sample(video: VideoEntry, frame: int, *, suffix: str = ".png") -> EncodedSample:
    """A crop of a coloured pattern of its own, the same in all frames but for noise.

    The face box (100, 50)-(180, 130) lies in the middle of a square of 104 pixels.
    """
    pattern = np.random.default_rng([*video.video_id.encode()]).integers(40, 216, (4, 4, 3), dtype=np.uint8)
    noise = np.random.default_rng([frame, *video.video_id.encode()]).integers(-100, 101, (SIZE, SIZE, 3))
    pixels = np.clip(cv2.resize(pattern, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) + noise, 0, 255)
    image = cv2.imencode(suffix, pixels.astype(np.uint8))[1].tobytes()
    zoom = SIZE / 104
    record = SampleRecord(
        sample_id=f"{video.video_id}-f{frame:06d}-t0",
        **{name: getattr(video, name) for name in ("video_id", "dataset", "method", "label", "quality", "split")},
        source_id=video.source_id,
        subject_ids=video.subject_ids,
        frame_index=frame,
        pts_s=frame / 25,
        pair_offset=None if video.source_id is None else 0,
        track_id=0,
        bbox=(100.0, 50.0, 180.0, 130.0),
        landmarks=(120.0, 80.0, 160.0, 80.0, 140.0, 95.0, 125.0, 110.0, 155.0, 110.0),
        score=0.99,
        affine=(zoom, 0.0, -88 * zoom, 0.0, zoom, -38 * zoom),
        crop_size=SIZE,
        mask_kind=MaskKind.ZEROS if video.label == 0 else MaskKind.DIFFERENCE,
        mask_coverage=0.25 * video.label,
        mask_iou=None,
        label_source="video" if video.source_id is None else "difference",
        difference=None if video.source_id is None else 12.5,
        shard="",
        row=-1,
        image_sha256=hashlib.sha256(image).hexdigest(),
    )
    return EncodedSample(record, image, png(square_mask() * np.uint8(video.label)))


def make_videos() -> list[VideoEntry]:
    """A pristine video and its fake for training, one for validation, and one in which no face is found."""
    common = {"dataset": "ffpp", "quality": "c23", "root": "/data"}
    real = VideoEntry(
        "ffpp-real-c23-000", method="real", label=0, split="train", path="000.mp4", subject_ids=("ffpp-000",), **common
    )
    fake = dataclasses.replace(
        real,
        video_id="ffpp-deepfakes-c23-000_003",
        method="deepfakes",
        label=1,
        path="000_003.mp4",
        source_id=real.video_id,
        subject_ids=("ffpp-000", "ffpp-003"),
    )
    other = {"method": "real", "label": 0, **common}
    return [
        real,
        fake,
        VideoEntry("ffpp-real-c23-001", split="val", path="001.mp4", subject_ids=("ffpp-001",), **other),
        VideoEntry("ffpp-real-c23-002", split="test", path="002.mp4", subject_ids=("ffpp-002",), **other),
    ]


def _failures() -> list[FailureRecord]:
    return [FailureRecord("ffpp-real-c23-002", Stage.DETECT, Reason.NO_FACE, "No frame shows a face.")]


def _faces() -> list[FrameFaces]:
    """What the detector saw in the pristine videos: the face, and in some frames a bystander before or after it."""
    found = []
    for video in (make_videos()[0], make_videos()[2]):
        for frame, count in ((0, 1), (12, 2), (24, 3)):
            sample = make_sample(video, frame).record
            faces = [(sample.bbox, sample.landmarks, sample.score)] * count
            faces[: count - 1] = [((5.0, 5.0, 60.0, 60.0), sample.landmarks, 0.95)] * (count - 1)
            found.append(FrameFaces("0" * 16, video.video_id, frame, *zip(*faces, strict=True)))
    return found


def _facts() -> list[VideoFacts]:
    """What decoding told of the videos that have samples."""
    common = {"fps": 25.0, "variable_rate": False, "codec": "h264", "rotation": 0, "pixel_aspect": 1.0}
    colours = {"interlaced": False, "colour_matrix": 2, "colour_range": 0, "duration_s": 4.0}
    size = {"width": 320, "height": 240, "frames": 100, "cuts": (), "alignment": None, "residual": None}
    return [VideoFacts(video.video_id, **size, **common, **colours) for video in make_videos()[:3]]


@dataclass
class Parts:
    """What a dataset is built of; change anything, then `write`."""

    videos: list[VideoEntry] = field(default_factory=make_videos)
    samples: list[EncodedSample] = field(
        default_factory=lambda: [make_sample(video, frame) for video in make_videos()[:3] for frame in (0, 12, 24)]
    )
    failures: list[FailureRecord] = field(default_factory=_failures)
    faces: list[FrameFaces] = field(default_factory=_faces)
    facts: list[VideoFacts] = field(default_factory=_facts)
    recipe: dict = field(default_factory=lambda: dict(RECIPE))

    def change(self, position: int, *, image: bytes | None = None, mask: bytes | None = None, **fields: object) -> None:
        """Change one sample's record, picture or mask, everywhere: shard and samples.parquet agree."""
        old = self.samples[position]
        record = dataclasses.replace(old.record, **fields)
        self.samples[position] = EncodedSample(record, image or old.image, mask or old.mask)

    def write(self, root: Path, format_name: str = "parquet", *, state: bool = False) -> Path:
        """Write everything, with hashes and counts of what there is; with the state of its build where asked for."""
        root.mkdir(parents=True, exist_ok=True)
        shards, records = [], []
        for split in dict.fromkeys(sample.record.split for sample in self.samples):
            of_split = [sample for sample in self.samples if sample.record.split == split]
            info, written = write_shard(root, split, of_split, format_name)
            shards.append(info)
            records += written
        samples = to_table(records, SAMPLES)
        tables = {
            VIDEOS_FILE: to_table(self.videos, VIDEOS),
            SAMPLES_FILE: samples,
            FACES_FILE: to_table(self.faces, FACES),
            FACTS_FILE: to_table(self.facts, FACTS),
            FAILURES_FILE: to_table(self.failures, FAILURES),
        }
        for name, table in tables.items():
            pq.write_table(table, root / name)
        recipe = {**self.recipe, "shards": {"format": format_name, "samples_per_shard": 6}}
        info = DatasetInfo(recipe, {"av": "18.0"}, count_samples([samples]), tuple(shards), len(self.failures))
        (root / CARD_FILE).write_text(dataset_card(info))
        (root / CROISSANT_FILE).write_text(croissant_metadata(info, root))
        write_dataset(root, info)
        if state:
            self._write_state(root, info, records)
        return root

    def _write_state(self, root: Path, info: DatasetInfo, records: list[SampleRecord]) -> None:
        """The results of the shards, as the build leaves them; all but the samples goes with the first one."""
        (root / STATE_TABLES).mkdir(parents=True, exist_ok=True)
        work = WorkIdentity(info.recipe, None, {"facemill": info.facemill, **info.versions}, "CPU")
        build = {**work.values(), "manifest": manifest_digest(self.videos)}
        (root / STATE_FOLDER / BUILD_FILE).write_text(json.dumps(build))
        rest = len(self.videos) - len(info.shards) + 1
        lacking = len(self.videos) - len({record.video_id for record in records})
        for number, shard in enumerate(info.shards):
            shard_id = Path(shard.path).stem
            rows = to_table([record for record in records if record.shard == shard.path], SAMPLES)
            faces = to_table([] if number else self.faces, FACES)
            facts = to_table([] if number else self.facts, FACTS)
            files = []
            for name, table in ((SAMPLES_FILE, rows), (FACES_FILE, faces), (FACTS_FILE, facts)):
                path = f"{STATE_TABLES}/{shard_id}.{name}"
                pq.write_table(table, root / path)
                files.append(ShardFile.of(root, path, len(table)))
            failures = () if number else tuple(self.failures)
            of_shard = ShardFile.of(root, shard.path, shard.rows)
            videos = (1, 0) if number else (rest, lacking)
            save_result(
                root, ShardResult(shard_id, shard.split, "f" * 64, work.digest, of_shard, *files, *videos, failures)
            )


def write_shard(
    root: Path, split: str, samples: list[EncodedSample], format_name: str
) -> tuple[ShardInfo, list[SampleRecord]]:
    shard_format = SHARD_FORMATS[format_name]
    name = f"{split}/{split}-000000{shard_format.suffix}"
    path = root / name
    path.parent.mkdir(exist_ok=True)
    with shard_format.open_writer(path, name) as writer:
        records = [writer.write(sample) for sample in samples]
    return ShardInfo(name, split, len(samples), path.stat().st_size, sha256_of(path)), records
