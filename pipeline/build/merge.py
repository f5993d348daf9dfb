"""What makes one dataset of built shards: the merged tables, the pages that speak of the whole, `dataset.json` last."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemill.manifests import FailureRecord, Reason, schemas
from facemill.manifests.annotations import listing_schema
from facemill.manifests.records import SPLITS
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    SHARDS_DIGEST,
    STATE_FOLDER,
    STATE_TABLES,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    count_samples,
    shards_digest,
    write_dataset,
)
from facemill.manifests.storage import TEMPORARY_SUFFIX, atomic_path, target_of, write_atomically
from facemill.pipeline.build.identity import versions
from facemill.pipeline.build.state import ShardResult
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.extract.annotators import create_annotators, declared

__all__ = ["MERGED", "BuildReport", "merge_shards", "report_of", "sweep"]

MERGED = (SAMPLES_FILE, FACES_FILE, FACTS_FILE, FAILURES_FILE, CARD_FILE, CROISSANT_FILE)
"""What `merge_shards` writes, before dataset.json."""
MERGED_ROWS = 50_000  # of a row group of samples.parquet, about
FACES_ROWS = 4_096  # and of faces.parquet, of which a later build reads single videos

SHARD_FILE = rf"({'|'.join(SPLITS)})-\d{{6,}}(\.samples|\.faces|\.facts)?\.\w+"
OWN_FILES = re.compile("|".join([*map(re.escape, (*MERGED, DATASET_FILE, VIDEOS_FILE, BUILD_FILE)), SHARD_FILE]))
"""Names of the files that a build writes."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build came to.

    Attributes:
        out: the dataset's folder, or its URL.
        videos: all but those that the recipe excludes.
        excluded: number of the latter.
        videos_without_samples: videos that gave no sample; each is in failures.parquet with the reason.
        failures: rows of failures.parquet.
        retryable: how many of them the same command tries again, by reason.
    """

    out: Path | str
    videos: int
    videos_without_samples: int
    samples: int
    shards: int
    failures: int
    retryable: dict[str, int]
    excluded: int = 0

    @property
    def failure_rate(self) -> float:
        """Share of the videos that gave no sample."""
        return self.videos_without_samples / self.videos if self.videos else 0.0


def merge_shards(
    out: Path, recipe: Recipe, results: Sequence[ShardResult], device: str, notes: tuple[str, ...] = ()
) -> BuildReport:
    """Merge the tables of all shards, given in the order of the plan, and write what speaks of the whole.

    Args:
        device: that of `WorkIdentity`, and `notes`, sentences: for dataset.json.
    """
    annotations = declared(create_annotators(recipe.annotate))
    schema = listing_schema(annotations)
    samples = _tables((out / result.samples.path for result in results), schema)
    faces = _tables((out / result.faces.path for result in results), schemas.FACES)
    facts = _tables((out / result.facts.path for result in results), schemas.FACTS)
    shards = [(result.split, result.shard) for result in results if result.shard is not None]
    infos = tuple(ShardInfo(file.path, split, file.rows, file.bytes, file.sha256) for split, file in shards)
    made_for = schema.with_metadata({SHARDS_DIGEST: shards_digest(infos)})
    _merge(samples, made_for, out / SAMPLES_FILE, MERGED_ROWS)
    _merge(faces, schemas.FACES, out / FACES_FILE, FACES_ROWS)
    _merge(schemas.first_of_each(facts), schemas.FACTS, out / FACTS_FILE, MERGED_ROWS)
    failures = _failures(results)
    with atomic_path(out / FAILURES_FILE) as temporary:
        pq.write_table(schemas.to_table(failures, schemas.FAILURES), temporary)
    info = DatasetInfo(
        recipe=recipe.build_values(),
        versions=versions(),
        counts=count_samples(_row_groups(out / SAMPLES_FILE)),
        shards=infos,
        failures=len(failures),
        annotations=annotations,
        device=device,
        notes=notes,
    )
    write_atomically(out / CARD_FILE, dataset_card(info).encode())
    write_atomically(out / CROISSANT_FILE, croissant_metadata(info, out).encode())
    sweep(out)
    write_dataset(out, info)
    return report_of(out, results)


def report_of(place: Path | RemoteFolder, results: Sequence[ShardResult]) -> BuildReport:
    """What shards came to, all of a build's or a part of them."""
    failures = _failures(results)
    excluded = sum(failure.reason is Reason.EXCLUDED and not failure.frames for failure in failures)
    return BuildReport(
        out=place if isinstance(place, Path) else place.url,
        videos=sum(result.videos for result in results) - excluded,
        videos_without_samples=sum(result.videos_without_samples for result in results) - excluded,
        samples=sum(result.rows for result in results),
        shards=sum(result.shard is not None for result in results),
        failures=len(failures),
        retryable=dict(Counter(failure.reason.value for failure in failures if failure.retryable)),
        excluded=excluded,
    )


def _failures(results: Sequence[ShardResult]) -> list[FailureRecord]:
    # A reference is read in several shards, and each of them tells of it.
    return list(dict.fromkeys(failure for result in results for failure in result.failures))


def sweep(out: Path) -> None:
    """Delete what killed processes left half-written of a build's own files, and nothing else."""
    state = out / STATE_FOLDER, out / STATE_TABLES
    parts = (part for folder in state for part in folder.glob("*-*/"))
    for folder in (out, *state, *parts, *(out / split for split in SPLITS)):
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if OWN_FILES.fullmatch(target_of(path) or ""):
                path.unlink(missing_ok=True)


def _tables(paths: Iterable[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    for path in paths:
        # Small files: `read_table` takes four times as long, a path in place of its bytes a third more, a cast a fifth.
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)
        yield table if table.schema.equals(schema) else table.cast(schema)


def _row_groups(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=["split", "method", "video_id"])


def _merge(tables: Iterable[pa.Table], schema: pa.Schema, target: Path, rows: int) -> None:
    """Concatenate tables in a Parquet file, holding no more than a row group's rows at a time, about `rows`."""
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        held: list[pa.Table] = []
        count = 0
        for table in filter(len, tables):  # one without rows is as large as one with a hundred
            held.append(table)
            count += len(table)
            if count >= rows:
                writer.write_table(pa.concat_tables(held))
                held, count = [], 0
        if held:
            writer.write_table(pa.concat_tables(held))
