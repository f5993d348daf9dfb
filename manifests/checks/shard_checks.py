"""Checks of one shard: its bytes, its samples, and their agreement with samples.parquet."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.annotations import Annotations, samples_schema
from facemill.manifests.checks.bounded import CELL_BYTES, most_bytes, survives_footer
from facemill.manifests.checks.columns import Column, broken_rows, mask, pc
from facemill.manifests.checks.sample_checks import ImageCheck
from facemill.manifests.checks.sample_rows import RecipeFacts, differs
from facemill.manifests.problem import Problem
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import to_table
from facemill.manifests.shards import format_of
from facemill.manifests.shards.dataset import SAMPLES_FILE, ShardInfo
from facemill.manifests.storage import sha256_of

__all__ = ["ShardFindings", "check_shard"]


@dataclass(frozen=True, slots=True)
class ShardFindings:
    """A shard's faults, and the samples that could be read.

    Attributes:
        samples: the records, as rows of samples.parquet.
        seen: what is kept of their pixels, `SEEN` [N].
    """

    problems: list[Problem]
    samples: pa.Table
    seen: NDArray[np.void]


def check_shard(
    root: Path, shard: ShardInfo, listed: pa.Table | None, recipe: RecipeFacts, annotations: Annotations
) -> ShardFindings:
    """Read a whole shard, one sample at a time; never raises, for any content.

    Args:
        root: the dataset's folder.
        listed: the shard's rows of samples.parquet; None if that file cannot be read.
        annotations: the annotations of each sample.
    """
    problems: list[Problem] = []
    records: list[SampleRecord] = []
    images = ImageCheck(recipe.crop.size, recipe.encode.format, annotations)
    try:
        problems += _check_file(root / shard.path, shard, recipe)
        for row, sample in enumerate(format_of(shard.path).read(root / shard.path)):
            records.append(sample.record)
            sample_id = sample.record.sample_id
            problems += (Problem(shard.path, text, row, sample_id, name) for name, text in images.faults(sample))
        if len(records) != shard.rows:
            message = f"it has {len(records)} samples, not {shard.rows} as in dataset.json"
            problems.append(Problem(shard.path, message, check="shard_rows"))
        layout = format_of(shard.path).layout_faults(root / shard.path)
        problems += (Problem(shard.path, message, check="shard_layout") for message in layout)
    except Exception as error:
        known = isinstance(error, DatasetError | tarfile.TarError | OSError)
        message = str(error).removesuffix(".") if known else f"it cannot be checked ({type(error).__name__}: {error})"
        row_reached = len(records) if (root / shard.path).is_file() else None
        problems.append(Problem(shard.path, message, row_reached, check="shard_readable"))
        listed = None  # samples are missing because of this error: do not report each of them
    samples = to_table(records, samples_schema(annotations))
    problems += _check_places(samples, shard)
    if listed is not None:
        problems += _compare(root, shard.path, samples, listed)
    return ShardFindings(problems, samples, images.stacked(len(records)))


def _check_file(path: Path, shard: ShardInfo, recipe: RecipeFacts) -> Iterator[Problem]:
    if not path.is_file():
        raise DatasetError("the shard is missing")
    size, most = path.stat().st_size, (shard.rows + 1) * 2 * (most_bytes(recipe.crop.size) + CELL_BYTES)
    if size != shard.bytes:
        message = f"its size is {size} bytes, not {shard.bytes} as in dataset.json"
        yield Problem(shard.path, message, check="shard_size")
    if size > most:
        raise DatasetError(f"it has {size} bytes, more than the {most} that its {shard.rows} samples can need")
    if size == shard.bytes and sha256_of(path) != shard.sha256:
        message = "its sha256 differs from dataset.json: bytes have changed"
        yield Problem(shard.path, message, check="shard_sha256")
        if path.suffix == ".parquet" and not survives_footer(path):
            raise DatasetError("its footer is damaged")


def _check_places(samples: pa.Table, shard: ShardInfo) -> Iterator[Problem]:
    """Each record states its own shard and row, and is in a shard of its split."""
    row = pa.array(np.arange(len(samples), dtype=np.int32))
    path = pa.repeat(shard.path, len(samples))
    elsewhere = differs(samples["row"], row) | differs(samples["shard"], path)
    yield from _rows(shard.path, "place", samples, elsewhere, "its record places it at row {row} of {shard}")
    split = differs(samples["split"], pa.repeat(shard.split, len(samples)))
    message = f"a sample of the {{split}} split is in a shard of the {shard.split} split"
    yield from _rows(shard.path, "shard_split", samples, split, message)


def _compare(root: Path, shard: str, found: pa.Table, listed: pa.Table) -> Iterator[Problem]:
    """Faults of samples.parquet: samples not listed, listed but missing, or listed with other values or places."""
    at = pc.index_in(found["sample_id"], value_set=listed["sample_id"]).combine_chunks()
    unlisted = np.asarray(at.is_null())
    yield from _rows(SAMPLES_FILE, "listed", found, unlisted, f"row {{row}} of {shard} is not listed")
    present = mask(pc.is_in(listed["sample_id"], value_set=found["sample_id"]))
    message = f"row {{row}} of {shard} is listed but missing"
    yield from _rows(SAMPLES_FILE, "there", listed, ~present, message)
    known = pa.array(~unlisted)
    found, same = found.filter(known), listed.take(at.drop_null())
    for name in found.column_names:
        other = differs(found[name], same[name])
        message = f"{name} is {{listed!r}}, but {{{name}!r}} in row {{row}} of {shard}"
        yield from _rows(SAMPLES_FILE, f"listed_{name}", found, other, message, listed=same[name])
    index = format_of(shard).index(root / shard) if "image" in listed.column_names else None
    # If another library has compressed the shard, readers find its images without places.
    for name, places in ({} if index is None else index.columns()).items():
        there, other = pa.chunked_array([places.filter(known)]), np.zeros(len(found), bool)
        for part in ("offset", "size"):
            other |= differs(pc.struct_field(there, part), pc.struct_field(same[name], part))
        message = f"its {name} is not where {SAMPLES_FILE} says in {shard}"
        yield from _rows(SAMPLES_FILE, f"listed_{name}", found, other, message)


def _rows(
    file: str, check: str, samples: pa.Table, broken: NDArray[np.bool_], message: str, listed: Column = None
) -> Iterator[Problem]:
    """A problem for each row of `broken_rows`; rows of samples.parquet are named by their sample only."""
    for position, more in broken_rows(broken):
        [row] = samples.slice(position, 1).to_pylist()
        other = None if listed is None else listed[position].as_py()
        text = message.format(**{**row, "listed": other})
        yield Problem(file, text, None if file == SAMPLES_FILE else position, row["sample_id"], check, more)
