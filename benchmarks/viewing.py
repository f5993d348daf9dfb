"""`facemill view` on a million samples: the time that a page of 60 crops takes, and the memory that rows take."""

import asyncio
import resource
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from benchmarks.row import Row
from facemill.manifests.annotations import listing_schema
from facemill.manifests.shards.dataset import SAMPLES_FILE, SHARDS_DIGEST, DatasetInfo, shards_digest, write_dataset
from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import SourceFrames
from facemill.pipeline.view.server import Viewed, make_app

__all__ = ["measure", "write_rows"]

ROWS = 1_000_000
LIMIT_S = 0.1
TERMS = ("", "label=1", "score<0.95 method~face", "video_id~00012", "mask_coverage>0.2 split=train")
ORDERS = ("", "score", "mask_coverage", "video_id", "pts_s", "sample_id")


def write_rows(root: Path, rows: int = ROWS, *, per_video: int = 32) -> Path:
    """A dataset of a table alone, in row groups as a build merges them; its shards do not exist."""
    random = np.random.default_rng(0)
    schema = listing_schema({}).with_metadata({SHARDS_DIGEST: shards_digest(())})
    root.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(root / SAMPLES_FILE, schema, compression="zstd") as writer:
        for start in range(0, rows, 50_000):
            numbers = np.arange(start, min(start + 50_000, rows))
            writer.write_table(_rows(numbers, per_video, random, schema))
    recipe = {"name": "rows", "shards": {"format": "parquet"}}
    write_dataset(root, DatasetInfo(recipe, {}, {}, (), 0))
    return root


def _rows(numbers: np.ndarray, per_video: int, random: np.random.Generator, schema: pa.Schema) -> pa.Table:
    count, videos, frames = len(numbers), numbers // per_video, numbers % per_video * 9
    labels = videos % 5 > 0
    methods = np.array(["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"], object)[videos % 5]
    names = [f"ffpp-{method}-c23-{video:06d}" for method, video in zip(methods, videos, strict=True)]
    sizes = np.full(count, 90_000)
    places = pa.StructArray.from_arrays([numbers * 90_000, sizes], fields=list(schema.field("image").type))
    vectors = {}
    for name in ("bbox", "landmarks", "affine"):
        kind = schema.field(name).type
        values = pa.array(random.random(count * kind.list_size) * 900).cast(kind.value_type)
        vectors[name] = pa.FixedSizeListArray.from_arrays(values, type=kind)
    columns = {
        "sample_id": [f"{name}-f{frame:06d}-t0" for name, frame in zip(names, frames, strict=True)],
        "video_id": names,
        "dataset": ["ffpp"] * count,
        "method": methods,
        "label": labels,
        "quality": ["c23"] * count,
        "split": np.array(["train", "val", "test"], object)[videos % 3],
        "source_id": [name if label else None for name, label in zip(names, labels, strict=True)],
        "subject_ids": [[f"ffpp-{video % 1000:03d}"] for video in videos],
        "frame_index": frames,
        "pts_s": frames / 25,
        "pair_offset": pa.array(np.zeros(count, np.int32), mask=~labels),
        "track_id": np.zeros(count),
        **vectors,
        "score": random.random(count) / 10 + 0.9,
        "crop_size": np.full(count, 299),
        "mask_kind": np.where(labels, "difference", "zeros"),
        "mask_coverage": np.where(labels, random.random(count), 0),
        "mask_iou": [None] * count,
        "label_source": ["video"] * count,
        "difference": random.random(count) * 30,
        "shard": [f"train/train-{number // 1024:06d}.parquet" for number in numbers],
        "row": numbers % 1024,
        "image_sha256": [f"{number:064x}" for number in random.integers(1 << 62, size=count)],
        "attributes": [[]] * count,
        "image": places,
        "mask": places,
    }  # fmt: skip
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)


def measure(scratch: Path) -> list[Row]:
    """Pages over HTTP, at several places of lists in several orders; and memory."""
    root = scratch / "view-rows"
    if not (root / SAMPLES_FILE).is_file():
        write_rows(root)
    before, start = _resident(), time.perf_counter()
    catalogue = Catalogue(root)
    opened, held = time.perf_counter() - start, _resident() - before
    first, pages = asyncio.run(_ask(Viewed(catalogue, SourceFrames(root, catalogue.info))))
    grown = (_resident() - before) >> 20
    told = [
        f"{len(times)} pages, median {np.median(times) * 1e3:.0f} ms, slowest {max(times) * 1e3:.0f} ms"
        for times in (pages, first)
    ]
    new, memory = (
        float(np.median(first)),
        f"opened in {opened:.1f} s with {held >> 20} MiB, {grown} MiB after all pages",
    )
    return [
        Row("viewing", f"100 ms / slowest of 60 crops of {ROWS:,}", LIMIT_S / max(pages), ">= 1", told[0]),
        Row("viewing", "100 ms / median first page of a new filter or order", LIMIT_S / new, ">= 1", told[1]),
        Row("viewing", "memory / 1 GiB", grown / 1024, "<= 1", memory),
    ]


async def _ask(viewed: Viewed) -> tuple[list[float], list[float]]:
    server = HTTPServer(make_app(viewed, "token"))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/token/api/list"
    client = AsyncHTTPClient()
    first, pages = [], []
    for terms in TERMS:
        for order in ORDERS:
            for number, start in enumerate((0, 600, 6_000, 60_000)):
                began = time.perf_counter()
                query = {"filter": terms, "sort": order, "start": str(start)}
                await client.fetch(f"{address}?{urlencode(query)}")
                (pages if number else first).append(time.perf_counter() - began)
    server.stop()
    return first, pages


def _resident() -> int:
    """Memory of this process that is not shared with files, bytes."""
    text = Path("/proc/self/statm").read_text().split()
    return (int(text[1]) - int(text[2])) * resource.getpagesize()
