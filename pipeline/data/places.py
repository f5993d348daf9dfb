"""Places of images in shards, for datasets whose samples.parquet lacks them: found in one pass, and kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from facemill import DatasetError
from facemill.manifests.annotations import PLACE
from facemill.manifests.remote import bring
from facemill.manifests.shards import format_of
from facemill.manifests.shards.base import Places
from facemill.manifests.shards.dataset import DATASET_FILE, STATE_FOLDER
from facemill.manifests.storage import atomic_path, sha256_of

pc: Any = pyarrow.compute  # untyped: the stubs do not support nulls

__all__ = ["other_sample", "places_of", "with_places"]

_DATASET = b"dataset_sha256"
"""Metadata of the file of places: the hash of the dataset.json that it was made for."""


def places_of(column: "pa.ChunkedArray[Any]") -> Places:
    """First byte and size of each image of a column of samples.parquet, [rows, 2]; -1 where it is null."""
    parts = [pc.fill_null(pc.struct_field(column, name), -1) for name in ("offset", "size")]
    return np.stack([part.to_numpy() for part in parts], 1).astype(np.int64)


def with_places(folder: Path, split: str, samples: pa.Table, schema: pa.Schema) -> pa.Table:
    """Add the places of images to the samples of a split, from the file of an earlier call or from the shards.

    Args:
        samples: all of the split's rows, in the order of samples.parquet.
        schema: with the columns of places.

    Raises:
        DatasetError: a shard is damaged.
    """
    made_for = {_DATASET: sha256_of(folder / DATASET_FILE).encode()}
    path = folder / STATE_FOLDER / f"places-{split}.parquet"
    names = [name for name in schema.names if name not in samples.column_names]
    try:
        kept = pq.read_table(path)
        if kept.schema.metadata == made_for and len(kept) == len(samples):
            columns = kept.select(names).columns
            return pa.Table.from_arrays([*samples.columns, *columns], schema=schema)
    except (OSError, pa.ArrowException, LookupError, ValueError):
        pass  # there is none, or it is damaged
    listing = _locate(folder, samples, schema)
    try:
        with atomic_path(path) as temporary:
            pq.write_table(listing.select(names).replace_schema_metadata(made_for), temporary)
    except OSError:
        pass  # a dataset that cannot be written is indexed each time
    return listing


def other_sample(place: str, found: str, expected: str) -> DatasetError:
    """The error that a place in a shard holds another sample than samples.parquet says."""
    return DatasetError(f"{place} holds {found}, but samples.parquet has {expected}: build the dataset again.")


def _locate(folder: Path, samples: pa.Table, schema: pa.Schema) -> pa.Table:
    shards: Any = samples["shard"].combine_chunks().dictionary_encode()
    rows = samples["row"].to_numpy()
    names = [name for name in schema.names if name not in samples.column_names]
    found = {name: np.full((len(samples), 2), (0, -1), np.int64) for name in names}
    for number, shard in enumerate(shards.dictionary.to_pylist()):
        index = format_of(shard).index(bring(folder / shard))
        if index is None:
            continue
        at = np.flatnonzero(shards.indices.to_numpy() == number)
        at = at[rows[at] < len(index.sample_ids)]  # reading tells of rows beyond the end
        for position, sample_id in zip(at, samples["sample_id"].take(at).to_pylist(), strict=True):
            if index.sample_ids[rows[position]] != sample_id:
                place = f"Row {rows[position]} of {folder / shard}"
                raise other_sample(place, index.sample_ids[rows[position]], str(sample_id))
        for name in names:
            if name in index.places:
                found[name][at] = index.places[name][rows[at]]
    columns = [
        pa.StructArray.from_arrays(list(found[name].T), fields=list(PLACE), mask=pa.array(found[name][:, 1] < 0))
        for name in names
    ]
    return pa.Table.from_arrays([*samples.columns, *columns], schema=schema)
