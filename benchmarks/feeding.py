"""Data loading for training: crops per second from shards to batches, compared with the `webdataset` library.

The same crops are stored in Parquet and in WebDataset shards, and every loader gives shuffled uint8 batches of image,
mask and label. Loaders alternate, and the best round of each counts, with all files in the page cache.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset as wds
from torch.utils.data import DataLoader

from benchmarks.clips import source_clip
from benchmarks.row import Row
from facemill.manifests.codes import MaskKind
from facemill.manifests.records import SampleRecord
from facemill.manifests.shards import EncodedSample, listing
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    SAMPLES_FILE,
    SHARDS_DIGEST,
    DatasetInfo,
    ShardInfo,
    count_samples,
    shards_digest,
    write_dataset,
)
from facemill.manifests.storage import sha256_of
from facemill.pipeline.config.sections import EncodeSettings
from facemill.pipeline.data import BalancedSampler, FaceDataset, collate
from facemill.pipeline.extract.encode import encode_image, encode_mask
from facemill.registry import SHARD_FORMATS

__all__ = ["measure"]

SIZE = 299
CROPS = 2048
PER_SHARD = 512
BATCH = 32
ROW_GROUPS_READ = 8

Loader = Iterable[Any]


def measure(scratch: Path, workers: int = 2, rounds: int = 5) -> list[Row]:
    """Images per second of each loader over an epoch, and CPU time, which other load on the machine hardly affects."""
    parquet, tar = (_dataset(scratch / "feeding" / name, name, source_clip(scratch)) for name in SHARD_FORMATS)
    ways = {
        "webdataset": lambda: _webdataset(tar, workers, "torchrgb8"),
        "webdataset with FaceDataset's decoder": lambda: _webdataset(tar, workers, _decode),
        "FaceDataset": lambda: _random_access(parquet, workers),
        "FaceDataset on tar": lambda: _random_access(tar, workers),
    }
    best = dict.fromkeys(ways, (0.0, 0.0))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = max(best[name], _speed(way))
    rows = []
    for ours, baseline in (
        ("FaceDataset", "webdataset"),
        ("FaceDataset", "webdataset with FaceDataset's decoder"),
        ("FaceDataset on tar", "webdataset"),
    ):
        what = f"{ours} / {baseline}, images/s, {SIZE} px PNG, {workers} workers"
        (speed, cpu), (baseline_speed, baseline_cpu) = best[ours], best[baseline]
        details = f"{speed:.0f} / {baseline_speed:.0f} images/s, {cpu:.2f} / {baseline_cpu:.2f} ms of CPU each"
        target = ">= 1" if baseline == "webdataset" else ""
        rows.append(Row("feeding", what, speed / baseline_speed, target, details))
    return [*rows, _amplification(parquet)]


def _speed(way: Callable[[], Loader]) -> tuple[float, float]:
    """Images per second, and CPU milliseconds per image, of all processes together."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    seen = sum(len(batch[0]) if isinstance(batch, list) else batch.size for batch in way())
    assert seen == CROPS
    return seen / (time.perf_counter() - start), (_cpu_seconds() - cpu) / seen * 1e3


def _cpu_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    return sum(os.times()[:4])


def _random_access(root: Path, workers: int) -> Loader:
    dataset = FaceDataset(root, "train")
    sampler = BalancedSampler(dataset.labels, balance="none")
    return DataLoader(dataset, batch_size=BATCH, sampler=sampler, num_workers=workers, collate_fn=collate)


def _webdataset(root: Path, workers: int, decoder: Any) -> Loader:
    shards = sorted(map(str, root.glob("train/*.tar")))
    samples = wds.WebDataset(shards, shardshuffle=100, empty_check=False).shuffle(1000)
    decoded = samples.decode(decoder).to_tuple("png", "mask.png", "json")
    triples = decoded.map(lambda sample: (*sample[:2], sample[2]["label"]))
    return DataLoader(triples, batch_size=BATCH, num_workers=workers)


def _decode(key: str, data: bytes) -> Any:
    """Decode as `decode_images` does, as a decoder for webdataset."""
    if key.endswith("json"):
        return json.loads(data)
    if key.endswith("mask.png"):
        return torch.from_numpy(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))[None]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _amplification(root: Path) -> Row:
    """Cost of random access with Parquet's own means, reading a row group per crop, relative to FaceDataset's."""
    dataset = FaceDataset(root, "train")
    order = np.random.default_rng(0).permutation(len(dataset))[:256].tolist()
    dataset.__getitems__(order)  # now every shard is indexed
    start = time.perf_counter()
    dataset.__getitems__(order)
    ours = (time.perf_counter() - start) / len(order)
    path = min(root.glob("train/*.parquet"))
    start = time.perf_counter()
    for _ in range(ROW_GROUPS_READ):
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            file.read_row_group(0, ["image", "mask"])
    group = (time.perf_counter() - start) / ROW_GROUPS_READ
    details = f"{group * 1e3:.1f} ms / {ours * 1e3:.1f} ms, the latter decoded too"
    return Row("feeding", "reading a row group / FaceDataset's random sample, time", group / ours, details=details)


def _dataset(root: Path, format_name: str, clip: Path) -> Path:
    """A dataset, in a shard format, of squares cropped from a video; created once."""
    if (root / DATASET_FILE).is_file():
        return root
    shard_format, samples = SHARD_FORMATS[format_name], _samples(clip)
    tables: list[pa.Table] = []
    shards: list[ShardInfo] = []
    (root / "train").mkdir(parents=True, exist_ok=True)
    for number in range(CROPS // PER_SHARD):
        name = f"train/train-{number:06d}{shard_format.suffix}"
        with shard_format.open_writer(root / name, name) as writer:
            records = [writer.write(sample) for sample in islice(samples, PER_SHARD)]
        tables.append(listing(root / name, records, {}))
        file = root / name
        shards.append(ShardInfo(name, "train", PER_SHARD, file.stat().st_size, sha256_of(file)))
    table = pa.concat_tables(tables).replace_schema_metadata({SHARDS_DIGEST: shards_digest(shards)})
    pq.write_table(table, root / SAMPLES_FILE)
    recipe = {"name": "feeding", "shards": {"format": format_name, "samples_per_shard": PER_SHARD}}
    write_dataset(root, DatasetInfo(recipe, {}, count_samples([table]), tuple(shards), 0))
    return root


def _samples(clip: Path) -> Iterator[EncodedSample]:
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 64)]
    rng = np.random.default_rng(0)
    region = cv2.ellipse(
        np.zeros((SIZE, SIZE), np.uint8), (SIZE // 2, SIZE // 2), (80, 110), 0, 0, 360, 255, cv2.FILLED
    )
    for number in range(CROPS):
        frame = frames[number % len(frames)]
        y, x = (int(rng.integers(side - SIZE)) for side in frame.shape[:2])
        image = encode_image(np.ascontiguousarray(frame[y : y + SIZE, x : x + SIZE]), EncodeSettings())
        label = number % 2
        yield EncodedSample(_record(number, label, image), image, encode_mask(region * np.uint8(label)))


def _record(number: int, label: int, image: bytes) -> SampleRecord:
    return SampleRecord(
        sample_id=f"video{number // 32}-f{number % 32:06d}-t0",
        video_id=f"video{number // 32}",
        dataset="bench",
        method="fake" if label else "real",
        label=label,
        quality="native",
        split="train",
        source_id=None,
        subject_ids=(),
        frame_index=number % 32,
        pts_s=number % 32 / 25,
        pair_offset=None,
        track_id=0,
        bbox=(0.0, 0.0, 1.0, 1.0),
        landmarks=(0.5,) * 10,
        score=1.0,
        affine=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        crop_size=SIZE,
        mask_kind=MaskKind.DIFFERENCE if label else MaskKind.ZEROS,
        mask_coverage=0.0,
        mask_iou=None,
        label_source="video",
        difference=None,
        shard="",
        row=-1,
        image_sha256=hashlib.sha256(image).hexdigest(),
    )
