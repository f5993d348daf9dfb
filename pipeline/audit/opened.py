"""A dataset opened for an audit: its tables, and what was seen of some of its crops.

Of each of these: simple statistics, a perceptual hash and a thumbnail.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.checks.sample_rows import Rows, recipe_facts
from facemill.manifests.checks.seen import SEEN, Seen, see
from facemill.manifests.schemas import FACTS, SAMPLES, VIDEOS
from facemill.manifests.shards.base import image_suffix
from facemill.manifests.shards.dataset import FACTS_FILE, SAMPLES_FILE, VIDEOS_FILE, read_dataset
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.split import open_split, read_listed
from facemill.pipeline.extract.filters import sharpness

__all__ = ["LOOK", "SIDE", "Looks", "Opened", "open_dataset"]

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


def _look_at_split(folder: Path, split: str, frames: int, on_crops: Callable[[int], None] | None = None) -> Looks:
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


@dataclass(frozen=True)
class Opened:
    """A dataset.

    Attributes:
        name: for messages.
        rows: all samples, with the column `pixels`, which tells equal images.
        seen: of each sample.
        videos, facts: rows of videos.parquet and facts.parquet; empty if there are none.
        looks: crops that were looked at, by split.
        chosen: those crops of all splits, as rows.
    """

    name: str
    folder: Path
    rows: Rows
    seen: Seen
    videos: pa.Table
    facts: pa.Table
    looks: dict[str, Looks]
    chosen: Rows


def open_dataset(folder: Path, name: str, frames: int, on_crops: Callable[[int], None] | None = None) -> Opened:
    """Read a dataset's tables, and look at up to `frames` crops of each video.

    Raises:
        DatasetError: if it is unfinished or damaged.
    """
    info = read_dataset(folder)
    recipe = recipe_facts(info.recipe)
    tables = ((SAMPLES_FILE, SAMPLES), (VIDEOS_FILE, VIDEOS), (FACTS_FILE, FACTS))
    samples, videos, facts = (read_listed(folder, file, schema) for file, schema in tables)
    looks = {split: _look_at_split(folder, split, frames, on_crops) for split in info.counts}
    chosen = pa.concat_tables([one.samples.select(SAMPLES.names) for one in looks.values()])
    at: Any = pc.index_in(chosen["sample_id"], value_set=samples["sample_id"].combine_chunks())
    values = np.zeros(len(samples), SEEN)
    values[at.to_numpy()] = np.concatenate([one.values["seen"] for one in looks.values()])
    seen = Seen(values, np.isin(np.arange(len(samples)), at.to_numpy()))
    rows = Rows(samples.append_column("pixels", seen.pixels), videos, recipe)
    return Opened(name, folder, rows, seen, videos, facts, looks, Rows(chosen, videos, recipe))
