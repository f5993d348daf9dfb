"""The shard format interface: write encoded samples in order, and stream them back."""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.annotations import PLACE, Annotations
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import SAMPLES, rounded

__all__ = [
    "IMAGE_SUFFIXES",
    "NO_ANNOTATIONS",
    "EncodedImages",
    "EncodedSample",
    "Places",
    "ShardFormat",
    "ShardIndex",
    "ShardWriter",
    "image_suffix",
    "placed",
]

IMAGE_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Suffixes of encoded crops, by the recipe's format."""
KEY = re.compile(r"[A-Za-z0-9_-]+")
NO_ANNOTATIONS: Annotations = MappingProxyType({})


EncodedImages = Mapping[str, bytes]
"""A sample's encoded images: `image`, `mask`, and its image annotations."""


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as stored in a shard.

    Attributes:
        image: the crop, encoded as PNG, JPEG or WebP.
        mask: its forgery mask, a one-channel PNG of the crop's size, 0 or 255; all zero for a real face.
        images: its image annotations, by name: PNG.
    """

    record: SampleRecord
    image: bytes
    mask: bytes
    images: Mapping[str, bytes] = field(default_factory=dict)


Places = NDArray[np.int64]
"""First byte and number of bytes of each image, [rows, 2]; zeros where there is none."""


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The samples in a shard, and where it holds their images.

    Attributes:
        sample_ids: by row.
        places: by name: `image`, `mask`, and the image annotations.
    """

    sample_ids: Sequence[str]
    places: Mapping[str, Places]

    def columns(self) -> "dict[str, pa.Array[Any]]":
        """The places as columns of samples.parquet."""
        return {name: pa.StructArray.from_arrays(list(places.T), fields=list(PLACE))
                for name, places in self.places.items()}  # fmt: skip


class ShardWriter(Protocol):
    """Receives a shard's samples in order."""

    def write(self, sample: EncodedSample) -> SampleRecord:
        """Append a sample; returns its record with `shard` and `row` filled in, exactly as `read` returns it."""


class ShardFormat(ABC):
    """A file format for samples: a stateless object, registered by name.

    Equal samples give equal bytes, and a shard without samples is valid.
    """

    name: str
    suffix: str

    @abstractmethod
    def open_writer(
        self, path: Path, shard: str, annotations: Annotations = NO_ANNOTATIONS
    ) -> AbstractContextManager[ShardWriter]:
        """Open a new file for writing; it is complete when the context exits.

        Args:
            path: the file to write, possibly a temporary name.
            shard: the shard's path below the dataset's folder, for the records.
            annotations: the annotations of each sample.
        """

    @abstractmethod
    def read(self, path: Path) -> Iterator[EncodedSample]:
        """Stream a shard's samples in the order written.

        Raises:
            DatasetError: the file is damaged; samples before the damage have been yielded.
        """

    def index(self, path: Path) -> ShardIndex | None:
        """Locate the images in a shard, so that each takes one read; None if the file does not hold them in one piece.

        Raises:
            DatasetError: the file is damaged.
        """
        del path
        return None

    def read_block(self, path: Path, row: int) -> tuple[int, list[EncodedImages]]:
        """Read the images of consecutive samples, `row` among them: how a shard without an index is read.

        Returns:
            the first sample's row, and the images of each by name; all of the shard unless a format does better.

        Raises:
            DatasetError: the file is damaged.
        """
        del row
        return 0, [{"image": sample.image, "mask": sample.mask, **sample.images} for sample in self.read(path)]

    def layout_faults(self, path: Path) -> Iterator[str]:
        """Describe how a readable file differs from what `open_writer` would write; samples are not read.

        Raises:
            tarfile.TarError, OSError: if `read` raises too.
        """
        return iter(())


def placed(sample: EncodedSample, shard: str, row: int, schema: pa.Schema = SAMPLES) -> SampleRecord:
    """The sample's record with shard and row filled in, and its numbers rounded to their stored types.

    Args:
        schema: of samples.parquet.

    Raises:
        DatasetError: for a sample_id that cannot be the key of a WebDataset sample.
    """
    sample_id = sample.record.sample_id
    if not KEY.fullmatch(sample_id):
        raise DatasetError(f"The sample_id {sample_id!r} is not made of letters, digits, '_' and '-' only.")
    return rounded(dataclasses.replace(sample.record, shard=shard, row=row), schema)


def image_suffix(image: bytes) -> str:
    """Return `.png`, `.jpg` or `.webp`, by an encoded image's first bytes.

    Raises:
        DatasetError: for any other format.
    """
    if image.startswith(b"\x89PNG"):
        return ".png"
    if image.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return ".webp"
    raise DatasetError("An image to be stored is not PNG, JPEG or WebP: encode it as one of them.")
