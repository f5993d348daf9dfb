"""Shards: files of samples, in any registered format."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import pyarrow as pa

from facemill import DatasetError
from facemill.manifests.annotations import Annotations, listing_schema, samples_schema
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import to_table
from facemill.manifests.shards.base import EncodedImages, EncodedSample, ShardFormat, ShardIndex, ShardWriter
from facemill.registry import SHARD_FORMATS

__all__ = ["EncodedImages", "EncodedSample", "ShardFormat", "ShardIndex", "ShardWriter", "format_of", "listing"]


def listing(path: Path, records: Sequence[SampleRecord], annotations: Annotations) -> pa.Table:
    """The rows of samples.parquet for a shard that has been written: its records, and the places of their images.

    Raises:
        DatasetError: if it cannot be read.
    """
    table = to_table(records, samples_schema(annotations))
    index = format_of(path).index(path) if records else None
    places = {} if index is None else index.columns()
    for field in list(listing_schema(annotations))[len(table.column_names) :]:
        table = table.append_column(field, places.get(field.name, pa.nulls(len(table), field.type)))
    return table


def format_of(path: PurePath | str) -> ShardFormat:
    """The format of a shard, by its suffix.

    Raises:
        DatasetError: for an unknown suffix.
    """
    suffix = PurePath(path).suffix
    for known in SHARD_FORMATS.values():
        if known.suffix == suffix:
            return known
    raise DatasetError(
        f"{path} is not a shard: the known suffixes are {', '.join(f.suffix for f in SHARD_FORMATS.values())}."
    )
