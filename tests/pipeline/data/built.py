"""Small built datasets of several shards a split, made with the shard writers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from facemill.manifests.codes import MaskKind
from facemill.manifests.records import VideoEntry
from facemill.manifests.schemas import SAMPLES, to_table
from facemill.manifests.shards import EncodedSample, listing
from facemill.manifests.shards.dataset import (
    SAMPLES_FILE,
    SHARDS_DIGEST,
    DatasetInfo,
    ShardInfo,
    count_samples,
    shards_digest,
    write_dataset,
)
from facemill.manifests.storage import sha256_of
from facemill.pipeline.data import Sample
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import make_sample

FRAMES = (0, 10, 20, 30, 40, 50)


def video(name: str, label: int, split: str = "train") -> VideoEntry:
    return VideoEntry(name, "toy", "swap" if label else "real", label, "native", split, "/data", f"{name}.mp4")


def samples_of(videos: Sequence[VideoEntry], frames: Sequence[int] = FRAMES) -> list[EncodedSample]:
    return [make_sample(entry, frame) for entry in videos for frame in frames]


def default_samples() -> list[EncodedSample]:
    """Training: 2 reals and 3 fakes, one of which nobody has a mask of; validation: one of each; 6 crops each."""
    training = [video(f"train-{n}", label) for n, label in enumerate((0, 1, 1, 0, 1))]
    samples = samples_of([*training, video("val-0", 0, "val"), video("val-1", 1, "val")])
    return [without_mask(sample) if sample.record.video_id == "train-4" else sample for sample in samples]


def without_mask(sample: EncodedSample) -> EncodedSample:
    """A fake of which nobody knows where it was forged."""
    blank = make_sample(video("blank", 0), 0).mask
    return EncodedSample(
        dataclasses.replace(sample.record, mask_kind=MaskKind.NONE, mask_coverage=None), *(sample.image, blank)
    )


def build(
    root: Path,
    samples: Sequence[EncodedSample] | None = None,
    format_name: str = "parquet",
    per_shard: int = 7,
    *,
    located: bool = True,
) -> Path:
    """Write a dataset of shards of `per_shard` samples; not `located`, as earlier versions did, without places."""
    samples = default_samples() if samples is None else samples
    shards: list[ShardInfo] = []
    tables: list[pa.Table] = []
    shard_format = SHARD_FORMATS[format_name]
    for split in dict.fromkeys(sample.record.split for sample in samples):
        chosen = [sample for sample in samples if sample.record.split == split]
        for number, start in enumerate(range(0, len(chosen), per_shard)):
            name = f"{split}/{split}-{number:06d}{shard_format.suffix}"
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with shard_format.open_writer(path, name) as writer:
                written = [writer.write(sample) for sample in chosen[start : start + per_shard]]
            shards.append(ShardInfo(name, split, len(written), path.stat().st_size, sha256_of(path)))
            tables.append(listing(path, written, {}) if located else to_table(written, SAMPLES))
    table = pa.concat_tables(tables)
    root.mkdir(parents=True, exist_ok=True)
    if located:
        table = table.replace_schema_metadata({SHARDS_DIGEST: shards_digest(shards)})
    pq.write_table(table, root / SAMPLES_FILE)
    recipe = {"name": "toy", "shards": {"format": format_name, "samples_per_shard": per_shard}}
    write_dataset(root, DatasetInfo(recipe, {}, count_samples([table]), tuple(shards), 0))
    return root


def as_values(sample: Sample) -> tuple[object, ...]:
    """A sample's fields, comparable."""
    return tuple(
        values.numpy().tobytes() if torch.is_tensor(values) else values for _, values in sorted(sample.items())
    )


def rewrite_shard(root: Path, name: str, samples: Sequence[EncodedSample]) -> None:
    """Put other samples into a shard, as damage would; samples.parquet stays as it is."""
    suffix = Path(name).suffix
    [shard_format] = [known for known in SHARD_FORMATS.values() if known.suffix == suffix]
    with shard_format.open_writer(root / name, name) as writer:
        for sample in samples:
            writer.write(sample)
