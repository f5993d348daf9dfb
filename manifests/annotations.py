"""Annotations: additional named outputs of a sample, such as the sharpness of its crop."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from facemill.manifests.schemas import SAMPLES

__all__ = ["PLACE", "Annotation", "Annotations", "image_names", "listing_schema", "samples_schema"]

IMAGE = "image"
SCALARS: dict[str, pa.DataType] = {"float": pa.float32(), "int": pa.int64(), "text": pa.string()}
PLACE = pa.struct([pa.field("offset", pa.int64()), pa.field("size", pa.int64())])
"""Where a shard holds an encoded image: its first byte in the file, and its number of bytes."""
VECTOR = re.compile(r"float\[([1-9]\d{0,3})\]")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One named output of a sample.

    Attributes:
        kind: `float` (32 bits), `int`, `text`, a vector such as `float[3]`, or `image` (uint8 [h, w] or [h, w, 3], no
            side longer than the crop's, stored as PNG).
        description: its meaning and unit, for the dataset's documents.

    Raises:
        ValueError: for any other kind.
    """

    kind: str
    description: str

    def __post_init__(self) -> None:
        if self.kind not in (IMAGE, *SCALARS) and not VECTOR.fullmatch(self.kind):
            raise ValueError(f"{self.kind!r} is not a kind of annotation: use float, int, text, float[N] or image")

    @property
    def type(self) -> pa.DataType:
        """Arrow type of the column that holds it; images have no column."""
        if vector := VECTOR.fullmatch(self.kind):
            return pa.list_(pa.field("item", pa.float32(), nullable=False), int(vector[1]))
        return SCALARS[self.kind]


Annotations = Mapping[str, Annotation]
"""The annotations of a dataset's samples, by name of the column or image."""


def samples_schema(annotations: Annotations) -> pa.Schema:
    """Schema of records: the standard columns, then one for each annotation that is not an image."""
    columns = [pa.field(name, one.type) for name, one in annotations.items() if one.kind != IMAGE]
    return pa.schema([*SAMPLES, *columns])


def listing_schema(annotations: Annotations) -> pa.Schema:
    """Schema of samples.parquet: that of the records, then the place of the crop, the mask and each image annotation.

    A place is null if the shard does not hold the image in one piece, and datasets of earlier versions have no places.
    """
    places = [pa.field(name, PLACE) for name in ("image", "mask", *image_names(annotations))]
    return pa.schema([*samples_schema(annotations), *places])


def image_names(annotations: Annotations) -> list[str]:
    """Names of the images stored with each sample's crop and mask."""
    return [name for name, one in annotations.items() if one.kind == IMAGE]
