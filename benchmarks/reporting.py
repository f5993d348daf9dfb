"""`facemill report`: seconds and megabytes of the page of a dataset of 10,000 crops."""

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.clips import source_clip
from benchmarks.row import Row
from facemill.manifests.records import VideoEntry, VideoFacts
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.pipeline.config.sections import EncodeSettings
from facemill.pipeline.extract.encode import encode_image, encode_png
from facemill.pipeline.report import report_dataset
from tests.manifests.small_dataset import RECIPE, Parts, make_sample

__all__ = ["measure"]

ORIGINALS, METHODS, FRAMES, SIDE = 63, ("real", "one", "two", "three", "four"), 32, 299
SECONDS, MEGABYTES = 60.0, 20.0


def measure(scratch: Path) -> list[Row]:
    """Time and size against what the page may take; the dataset, of PNG crops of 299 pixels, is made once."""
    root = scratch / "reporting"
    if not (root / DATASET_FILE).is_file():
        _make(root, source_clip(scratch))
    start, cpu = time.perf_counter(), time.process_time()
    report_dataset(root, scratch / "report.html")
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    size = (scratch / "report.html").stat().st_size / 1e6
    what = f"page of {ORIGINALS * len(METHODS) * FRAMES:,} crops"
    return [
        Row("report", f"{what} / {SECONDS:.0f} s", seconds / SECONDS, "<= 1", f"{seconds:.1f} s, {cpu:.1f} s of CPU"),
        Row("report", f"{what} / {MEGABYTES:.0f} MB", size / MEGABYTES, "<= 1", f"{size:.1f} MB"),
    ]


def _make(root: Path, clip: Path) -> None:
    videos = [
        VideoEntry(
            _name(method, number),
            dataset="bench",
            method=method,
            label=int(method != "real"),
            quality="native",
            split="train" if number < 43 else "val" if number < 53 else "test",
            root="/data",
            path=f"{_name(method, number)}.mp4",
            source_id=None if method == "real" else _name("real", number),
            subject_ids=(f"bench-{number}",),
        )
        for number in range(ORIGINALS)
        for method in METHODS
    ]
    sized = {"coded_width": 1280, "coded_height": 720, "duration_s": 10.0, "size_bytes": 2_000_000}
    about = {"variable_rate": False, "codec": "h264", "rotation": 0, "pixel_aspect": 1.0, "interlaced": False}
    none = {"colour_matrix": 2, "colour_range": 0, "cuts": (), "alignment": None, "residual": None}
    facts = [VideoFacts(video.video_id, 1280, 720, 250, 25.0, **about, **none, **sized) for video in videos]
    recipe = {**RECIPE, "crop": {**RECIPE["crop"], "size": SIDE}}
    order = {"train": 0, "val": 1, "test": 2}
    samples = sorted(_samples(videos, clip), key=lambda sample: order[sample.record.split])
    Parts(videos, samples, [], [], facts, recipe).write(root)


def _name(method: str, number: int) -> str:
    return f"bench-{method}-{number:03d}"


def _samples(videos: list[VideoEntry], clip: Path) -> Iterator[EncodedSample]:
    """Squares of a video's frames, a place for each original; fakes have a smooth region of another frame."""
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), FRAMES)]
    region = cv2.ellipse(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), (60, 80), 0, 0, 360, 255, cv2.FILLED)
    share = cv2.GaussianBlur(region, (0, 0), 6)[..., None] / 255.0
    for video in videos:
        number = int(video.video_id[-3:])
        rng = np.random.default_rng(number)
        y, x = (int(rng.integers(side - SIDE)) for side in frames[0].shape[:2])
        for place in range(FRAMES):
            shown = (place, place + METHODS.index(video.method))
            square, other = (frames[at % len(frames)][y : y + SIDE, x : x + SIDE] for at in shown)
            pixels = np.rint(square * (1 - share) + other[::-1] * share) if video.label else square
            image = encode_image(np.ascontiguousarray(pixels.astype(np.uint8)), EncodeSettings())
            record = dataclasses.replace(
                make_sample(video, 8 * place).record,
                crop_size=SIDE,
                mask_coverage=float((region > 0).mean()) * video.label,
                affine=(SIDE / 104, 0.0, -88 * SIDE / 104, 0.0, SIDE / 104, -38 * SIDE / 104),
                image_sha256=hashlib.sha256(image).hexdigest(),
            )
            yield EncodedSample(record, image, encode_png(region * np.uint8(video.label)))
