"""Ways to plant faults in a small dataset: all hashes and counts are made anew, so that nothing else can find them."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from facemill.manifests.shards.dataset import DATASET_FILE
from tests.manifests.small_dataset import SIZE, Parts

REAL, FAKE, OTHER = "ffpp-real-c23-000", "ffpp-deepfakes-c23-000_003", "ffpp-real-c23-001"
TRAIN, VAL = "train/train-000000", "val/val-000000"
FIRST_REAL, FIRST_FAKE, FIRST_OTHER = 0, 3, 6
"""Positions of the first sample of each video: three of the real, three of its fake, three of another real."""
ZOOM = SIZE / 104


def noise(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def change(position: int = FIRST_REAL, **fields: Any) -> Callable[[Parts], None]:
    """Change a sample's record, in its shard and in samples.parquet."""
    return lambda parts: parts.change(position, **fields)


def both(**fields: Any) -> Callable[[Parts], None]:
    """Change a real sample and its fake alike."""

    def plant(parts: Parts) -> None:
        parts.change(FIRST_REAL, **fields)
        parts.change(FIRST_FAKE, **fields)

    return plant


def picture(position: int, image: bytes, **fields: Any) -> Callable[[Parts], None]:
    """Change a picture, and its hash with it."""
    return change(position, image=image, image_sha256=hashlib.sha256(image).hexdigest(), **fields)


def same_picture(position: int, other: int) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        picture(position, parts.samples[other].image)(parts)

    return plant


def recipe(section: str, **keys: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.recipe[section] = {**parts.recipe[section], **keys}

    return plant


def face(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.faces[position] = dataclasses.replace(parts.faces[position], **fields)

    return plant


def fact(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.facts[position] = dataclasses.replace(parts.facts[position], **fields)

    return plant


def failure(**fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.failures.append(dataclasses.replace(parts.failures[0], **fields))

    return plant


def video(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.videos[position] = dataclasses.replace(parts.videos[position], **fields)

    return plant


def sequence(*plants: Callable[[Parts], object]) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        for one in plants:
            one(parts)

    return plant


def pillow(mode: str, *, frames: int = 1, rotated: bool = False) -> bytes:
    """A PNG as only Pillow writes it."""
    image, file, exif = Image.fromarray(noise()).convert(mode), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6 if rotated else 1
    more = [image.rotate(90 * number) for number in range(1, frames)]
    image.save(file, "PNG", exif=exif, save_all=frames > 1, append_images=more)
    return file.getvalue()


def edit(change: Callable[[dict[str, Any]], object], name: str = DATASET_FILE) -> Callable[[Path], None]:
    """Change a JSON file of a written dataset."""

    def plant(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return plant


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


def rows(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """Change the rows of a table."""

    def plant(root: Path) -> None:
        table = pq.read_table(root / name)
        values = table.to_pylist()
        change(values)
        pq.write_table(pa.Table.from_pylist(values, table.schema), root / name)

    return plant
