"""A built dataset's folder: the names of its files, and `dataset.json`, which describes them.

dataset.json  README.md  croissant.json  videos.parquet  samples.parquet  faces.parquet  facts.parquet  failures.parquet
train/train-000000.parquet  …  val/…  test/…
_state/train-000000.json    _state/tables/train-000000.samples.parquet    …
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from facemill import DatasetError, ManifestError, __version__
from facemill.manifests.annotations import Annotations
from facemill.manifests.checks.bounded import content_of
from facemill.manifests.records import SPLITS
from facemill.manifests.storage import parse_json, refuse_special_file, write_atomically

__all__ = [
    "BUILD_FILE",
    "CARD_FILE",
    "CROISSANT_FILE",
    "DATASET_FILE",
    "FACES_FILE",
    "FACTS_FILE",
    "FAILURES_FILE",
    "FORMAT_VERSION",
    "SAMPLES_FILE",
    "SHARDS_DIGEST",
    "STATE_FOLDER",
    "STATE_TABLES",
    "VIDEOS_FILE",
    "Count",
    "Counts",
    "DatasetInfo",
    "ShardInfo",
    "count_samples",
    "damage_told",
    "has_true_places",
    "read_dataset",
    "shards_digest",
    "split_order",
    "state_path",
    "state_results",
    "write_dataset",
]

FORMAT_VERSION = 2
"""Version 2 added the source of each sample's label; version 1 can still be read (see `schemas.ADDED`)."""
READ_VERSIONS = (1, FORMAT_VERSION)

DATASET_FILE = "dataset.json"
CARD_FILE = "README.md"
CROISSANT_FILE = "croissant.json"
VIDEOS_FILE = "videos.parquet"
SAMPLES_FILE = "samples.parquet"
FACES_FILE = "faces.parquet"
FACTS_FILE = "facts.parquet"
FAILURES_FILE = "failures.parquet"
STATE_FOLDER = "_state"
BUILD_FILE = "build.json"
"""In the state folder: what must not change between the runs of one build."""
STATE_TABLES = f"{STATE_FOLDER}/tables"
"""One level deeper than shards, so that `*/*.parquet` matches shards only."""
SHARDS_DIGEST = b"facemill.shards"
"""Key of `shards_digest` in the metadata of samples.parquet."""
A_FOLDER = 1000
"""Number of shards of a split per state subfolder; the first ones are directly in the state folder."""


@dataclass(frozen=True, slots=True)
class Count:
    """Number of samples, and of their videos."""

    samples: int
    videos: int


Counts = dict[str, dict[str, Count]]
"""Counts by split, then by forgery method (`real` among them)."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard.

    Attributes:
        path: POSIX path below the dataset's folder.
        rows: number of samples.
        bytes: size of the file.
        sha256: of the file, hex.
    """

    path: str
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """The content of dataset.json. It has no timestamps, so that equal builds write equal bytes.

    Attributes:
        recipe: the resolved recipe, as plain values.
        versions: of the libraries and decoders that affect pixels, by name.
        shards: in the order of samples.parquet.
        failures: number of rows of failures.parquet.
        annotations: annotations of the samples, by column or image.
        device: hardware that the faces were detected and compared on; empty in datasets of earlier versions.
        notes: sentences on what was built otherwise than the user's recipe says.
        facemill: version of facemill that built the dataset.
        format_version: of the dataset's files.
    """

    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Counts
    shards: tuple[ShardInfo, ...]
    failures: int
    annotations: Annotations = field(default_factory=dict)
    device: str = ""
    notes: tuple[str, ...] = ()
    facemill: str = __version__
    format_version: int = FORMAT_VERSION


_INFO = TypeAdapter(DatasetInfo)


def shards_digest(shards: Iterable[ShardInfo]) -> bytes:
    """Digest of the shards' hashes; samples.parquet has it in its metadata, as its places are true for these files."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest().encode()


def has_true_places(samples: Path, shards: Iterable[ShardInfo]) -> bool:
    """Whether samples.parquet gives the places of images in these shards: earlier versions wrote none, and a shard that
    another library has written anew holds its images elsewhere.

    Raises:
        ValueError: it is not a regular file.
        OSError, pa.ArrowException: it cannot be read.
    """
    refuse_special_file(samples)
    return (pq.read_schema(samples).metadata or {}).get(SHARDS_DIGEST) == shards_digest(shards)


@contextmanager
def damage_told(table: Path) -> Iterator[None]:
    """Report what goes wrong while a dataset's table is read, in one sentence.

    Raises:
        DatasetError: names the file.
    """
    try:
        refuse_special_file(table)
        yield
    except (ManifestError, pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise DatasetError(f"{table} cannot be read ({error}): build the dataset again.") from None


def state_path(shard_id: str, kind: str = "json") -> str:
    """Path, below a dataset's folder, of a shard's result or of one of its tables, such as `faces.parquet`."""
    folder = STATE_FOLDER if kind == "json" else STATE_TABLES
    split, _, number = shard_id.rpartition("-")
    if number.isdecimal() and int(number) >= A_FOLDER:
        folder = f"{folder}/{split}-{int(number) // A_FOLDER:03d}"
    return f"{folder}/{shard_id}.{kind}"


def state_results(root: Path) -> list[Path]:
    """Files of the shards' results, sorted by name."""
    state = root / STATE_FOLDER
    return sorted([*state.glob("*-*.json"), *state.glob("*-*/*-*.json")], key=lambda path: path.name)


def count_samples(parts: Iterable[pa.Table]) -> Counts:
    """Count rows, and distinct videos, by split (in their usual order) and method (real first).

    Args:
        parts: tables with at least the columns split, method and video_id of samples.parquet; only one is held.
    """
    keys = ["split", "method", "video_id"]
    by_video = [part.group_by(keys).aggregate([([], "count_all")]) for part in parts]
    if not by_video:
        return {}
    grouped = pa.concat_tables(by_video).group_by(keys[:2])
    rows = grouped.aggregate([("count_all", "sum"), ("video_id", "count_distinct")]).to_pylist()
    rows.sort(key=lambda row: (*split_order(row["split"]), row["method"] != "real", row["method"]))
    counts: Counts = {}
    for row in rows:
        counts.setdefault(row["split"], {})[row["method"]] = Count(row["count_all_sum"], row["video_id_count_distinct"])
    return counts


def split_order(split: str) -> tuple[int, str]:
    """Sort key: the known splits in order, then unknown ones of a damaged table."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def write_dataset(root: Path, info: DatasetInfo) -> None:
    """Write dataset.json atomically; it is written last, and its existence marks the dataset as complete."""
    content = {"format_version": info.format_version, **asdict(info)}
    text = json.dumps(content, indent=2, allow_nan=False)
    write_atomically(root / DATASET_FILE, f"{text}\n".encode())


def read_dataset(root: str | Path) -> DatasetInfo:
    """Read a dataset's dataset.json.

    Raises:
        DatasetError: it is missing (the build has not finished), damaged, or of an unknown format version.
    """
    path = Path(root) / DATASET_FILE
    try:
        text = content_of(path)
        content = parse_json(text)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{root} has no {DATASET_FILE}: give the folder of a finished build, or run the build again to finish it."
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): run the build again.") from None
    version = content.get("format_version")
    if version not in READ_VERSIONS or isinstance(version, bool):
        raise DatasetError(
            f"{path} has format version {version}, and this facemill ({__version__}) reads up to {FORMAT_VERSION}: "
            "use the facemill that built it, or build it again."
        )
    try:
        return _INFO.validate_json(text, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise DatasetError(f"{path} is damaged ({where}: {fault['msg']}): run the build again.") from None
