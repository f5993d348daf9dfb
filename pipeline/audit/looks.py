"""What an audit keeps of the crops that it looks at: simple statistics, a perceptual hash and thumbnails."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.checks.seen import SEEN, see
from facemill.manifests.shards.base import image_suffix
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.split import open_split
from facemill.pipeline.extract.filters import sharpness

__all__ = ["LOOK", "SIDE", "Looks", "look_at_split"]

SIDE = 64
"""Side of the gray thumbnails, pixels."""
FLAT = 8.0
"""Standard deviation of a thumbnail, gray levels, below which its hash says nothing: black and blank images."""
LOOK = np.dtype(
    [
        *((name, np.float32) for name in ("brightness", "contrast", "saturation", "sharpness", "bytes")),
        *[("suffix", "U5"), ("flat", bool), ("hash", np.uint64), ("thumbnail", np.uint8, (SIDE, SIDE)), ("seen", SEEN)],
    ]
)
"""Mean and standard deviation of gray, mean chroma (largest minus smallest of R, G, B), variance of the Laplacian,
size of the encoded crop; its format; whether it is too flat to be hashed; its pHash (64 bits)."""
_BLOCK = 256


@dataclass(frozen=True)
class Looks:
    """Some crops of a split.

    Attributes:
        samples: their rows of samples.parquet.
        values: `LOOK` [N].
        read: encoded image of a row.
    """

    samples: pa.Table
    values: NDArray[np.void]
    read: Callable[[int], bytes]


def look_at_split(folder: Path, split: str, frames: int, on_crops: Callable[[int], None] | None = None) -> Looks:
    """Look at up to `frames` crops of each video of a split, evenly over its sampled frames.

    A fake and its original have the same frames in the choice.

    Raises:
        DatasetError: if a sample cannot be read.
    """
    every = open_split(folder, split)
    per_video = every.samples.group_by("video_id").aggregate([("frame_index", "count_distinct")])
    most = int(pc.max(per_video["frame_index_count_distinct"]).as_py())
    chosen = open_split(folder, split, every=-(-most // frames), frames=frames)
    reader = ImageReader(chosen, ("image", "mask"))

    values = np.zeros(len(chosen), LOOK)
    with ThreadPoolExecutor() as threads:  # OpenCV releases the GIL
        for start in range(0, len(chosen), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(chosen)))
            encoded = [(chosen.place(row), *reader.read(row).values()) for row in rows]
            values[rows.start : rows.stop] = list(threads.map(lambda images: _look(*images), encoded))
            if on_crops is not None:
                on_crops(len(rows))
    return Looks(chosen.samples, values, lambda row: reader.read(row)["image"])


def _look(place: str, encoded: bytes, mask: bytes) -> NDArray[np.void]:
    """The `LOOK` of a crop.

    Raises:
        DatasetError: if it is no image.
    """
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DatasetError(f"{place} holds no image that can be decoded: see `facemill verify`.")
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = np.zeros((), LOOK)
    found["thumbnail"] = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    found["brightness"], found["contrast"] = gray.mean(), gray.std()
    found["saturation"] = np.ptp(image, axis=2).mean()
    found["sharpness"], found["bytes"], found["suffix"] = sharpness(image), len(encoded), image_suffix(encoded)
    found["flat"] = found["thumbnail"].std() < FLAT
    found["hash"] = cv2.img_hash.pHash(image).view(np.uint64)[0, 0]
    found["seen"] = see(image, cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED), encoded)
    return found
