"""A dataset whose fakes only time tells from its reals: brightness alternates in them, and stays in a real's frames."""

import dataclasses
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from facemill.manifests.schemas import VIDEOS, to_table
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.dataset import VIDEOS_FILE
from tests.manifests.small_dataset import make_sample
from tests.pipeline.data.built import build, video

__all__ = ["SIDE", "flicker"]

SIDE = 32


def flicker(
    root: Path, videos: int = 8, frames: Sequence[int] = range(8), splits: Sequence[str] = ("train", "val", "test")
) -> Path:
    """Half of all reals' videos are bright and half dark, and so are half of every fake's frames."""
    samples, entries = [], []
    for number, split in enumerate(splits):
        rng = np.random.default_rng(number)
        for n in range(videos):
            for label in (0, 1):
                entry = video(f"{split}-{'fake' if label else 'real'}-{n}", label, split)
                entries.append(entry)
                samples += [_frame(make_sample(entry, t), bright=(n + t * label) % 2 == 0, rng=rng) for t in frames]
    build(root, samples, per_shard=64)
    pq.write_table(to_table(entries, VIDEOS), root / VIDEOS_FILE)
    return root


def _frame(sample: EncodedSample, *, bright: bool, rng: np.random.Generator) -> EncodedSample:
    pixels = np.clip((190 if bright else 60) + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    image = cv2.imencode(".png", pixels)[1].tobytes()
    mask = cv2.imencode(".png", np.full((SIDE, SIDE), 255 * sample.record.label, np.uint8))[1].tobytes()
    scale = SIDE / sample.record.crop_size
    affine = tuple(scale * value for value in sample.record.affine)
    record = dataclasses.replace(
        sample.record,
        affine=affine,
        crop_size=SIDE,
        mask_coverage=float(sample.record.label),
        image_sha256=sha256(image).hexdigest(),
    )
    return EncodedSample(record, image, mask)
