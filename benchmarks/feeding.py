"""Data loading for training: crops per second from shards to batches, compared with webdataset, LitData and SPDL.

The same crops are stored as each library stores them, and every loader gives shuffled uint8 batches of image, mask and
label, decoded by the same function. Loaders alternate, with all files in the page cache.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import pyarrow.parquet as pq

from benchmarks.clips import source_clip
from benchmarks.loaders import BATCH, Way, missing, other_loaders
from benchmarks.row import Row
from facemill.manifests.codes import MaskKind
from facemill.manifests.records import SampleRecord
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.pipeline.config.sections import EncodeSettings
from facemill.pipeline.data import BalancedSampler, FaceDataset, FaceLoader
from facemill.pipeline.extract.encode import encode_image, encode_png
from facemill.registry import SHARD_FORMATS
from tests.pipeline.data.built import build

__all__ = ["measure"]

SIZE = 299
CROPS = 2048
PER_SHARD = 512
READERS = (2, 4)
ROW_GROUPS_READ = 8


def measure(scratch: Path, rounds: int = 5) -> list[Row]:
    """Compare by images per second and per CPU second, which other load on the machine hardly affects."""
    parquet, tar = (_dataset(scratch / "feeding" / name, name, source_clip(scratch)) for name in SHARD_FORMATS)
    if names := missing():
        print(f"feeding: not compared with {', '.join(names)}: pip install {' '.join(names)}")
    others = other_loaders(tar, scratch / "feeding")
    cache = scratch / "feeding" / "cache"
    ways: dict[str, Way] = {
        "threads": lambda readers: _face_loader(parquet, readers, threads=True),
        "processes": lambda readers: _face_loader(parquet, readers),
        "threads on tar": lambda readers: _face_loader(tar, readers, threads=True),
        "threads, cached": lambda readers: _face_loader(parquet, readers, threads=True, cache=cache),
        **others,
    }
    for _ in ways["threads, cached"](2):
        pass  # which fills the cache
    pairs = [("threads", name) for name in others]
    pairs += [("processes", name) for name in ("webdataset", "LitData") if name in others]
    pairs += [("threads on tar", "webdataset"), ("threads, cached", "threads")]
    return [row for readers in READERS for row in _compared(ways, pairs, readers, rounds)] + [_amplification(parquet)]


def _compared(ways: dict[str, Way], pairs: list[tuple[str, str]], readers: int, rounds: int) -> list[Row]:
    """Compare the loaders of each pair by medians of the ratios of rounds, in each of which all have a turn."""
    turns = [{name: _speed(way, readers) for name, way in ways.items()} for _ in range(rounds)]
    rows = []
    for ours, baseline in pairs:
        what = f"{ours} / {baseline}, {readers} readers, images per"
        target = "" if ours == "threads, cached" else ">= 1"
        for unit, part in (("second", 0), ("CPU second", 1)):
            ratio = median(turn[ours][part] / turn[baseline][part] for turn in turns)
            mine, theirs = (median(turn[name][part] for turn in turns) for name in (ours, baseline))
            rows.append(Row("feeding", f"{what} {unit}", ratio, target, f"{mine:.0f} / {theirs:.0f}"))
    return rows


def _speed(way: Way, readers: int) -> tuple[float, float]:
    """Images per second, and per CPU second of all processes together, of an epoch with its start and end."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    seen = sum(len(batch[0]) if isinstance(batch, list | tuple) else batch.size for batch in way(readers))
    assert seen == CROPS
    return seen / (time.perf_counter() - start), seen / (_cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    return sum(os.times()[:4])


def _face_loader(root: Path, readers: int, *, threads: bool = False, cache: Path | None = None) -> FaceLoader:
    dataset = FaceDataset(root, "train", cache=cache)
    sampler = BalancedSampler(dataset.labels, balance="none")
    return FaceLoader(dataset, batch_size=BATCH, sampler=sampler, num_workers=readers, threads=threads)


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
    return build(root, [*_samples(clip)], format_name, PER_SHARD)


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
        yield EncodedSample(_record(number, label, image), image, encode_png(region * np.uint8(label)))


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
