"""Verification: re-reads a whole built dataset and lists all faults.

The rules are in `row_checks`, `face_rules` and `group_checks` (rows of samples.parquet), `sample_checks` (images),
`shard_checks` (shards against samples.parquet), `dataset_checks`, `facts_checks`, `side_checks` and `state_checks`
(files against each other);
implausible findings are in `plausibility`.

Some faults cannot be seen in the files alone, if all hashes have been made anew:

- an image replaced by another one of the same face, or compressed again: only the video has the true pixels, and
  building anew shows the difference;
- times that are wrong by less than a frame, and numbers of tracks: tables of all times are not kept;
- keys of the recipe that verification does not know: other versions and plugins have more;
- rows in another order inside their shard, or whole videos in another shard, everywhere alike: each row still says what
  it is.

Tables and shards that another library has written again, with the same values, are no fault.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from facemill import DatasetError, ManifestError
from facemill.manifests.annotations import listing_schema, samples_schema
from facemill.manifests.checks import dataset_checks, facts_checks, side_checks
from facemill.manifests.checks.bounded import read_table
from facemill.manifests.checks.columns import pc, places, words
from facemill.manifests.checks.dataset_checks import SHARD_PATH
from facemill.manifests.checks.framing import framing_tells
from facemill.manifests.checks.group_checks import GROUP_CHECKS
from facemill.manifests.checks.plausibility import implausible
from facemill.manifests.checks.row_checks import check_rows
from facemill.manifests.checks.sample_rows import RecipeFacts, Rows, recipe_facts
from facemill.manifests.checks.seen import Seen
from facemill.manifests.checks.shard_checks import ShardFindings, check_shard
from facemill.manifests.checks.state_checks import check_build, check_state
from facemill.manifests.codes import Reason
from facemill.manifests.problem import Problem, VerifyReport, condense
from facemill.manifests.records import VideoEntry
from facemill.manifests.remote import borrowed, here
from facemill.manifests.schemas import ADDED, FACES, FACTS, FAILURES, VIDEOS, from_table
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    has_true_places,
    read_dataset,
)

__all__ = ["Problem", "VerifyReport", "verify"]

UNREADABLE = (ManifestError, pa.ArrowException, OSError, ValueError, TypeError, LookupError, MemoryError)
"""Exceptions raised by reading a damaged table."""


def verify(
    root: str | Path, *, threads: int | None = None, on_samples: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Re-read a built dataset; damage is reported, never raised.

    Examples:
        >>> facemill.verify("shards").problems
        ()

    Memory holds samples.parquet and faces.parquet as Arrow tables, the manifest, 264 bytes of pixels per
    sample, and a few samples per thread.

    Args:
        root: folder of the dataset, or its fsspec URL: then no more shards are copied at a time than are read.
        threads: shards read in parallel; by default the number of processors.
        on_samples: called with the number of samples just checked, and the total.
    """
    root = here(root)
    try:
        info = read_dataset(root)
        recipe = recipe_facts(info.recipe)
    except DatasetError as error:
        return VerifyReport((Problem(DATASET_FILE, str(error).removesuffix("."), check="dataset_json"),))
    except Exception as error:
        return VerifyReport((_unchecked(DATASET_FILE, error),))
    return _Verification(root, info, recipe, on_samples).run(threads or os.cpu_count() or 1)


class _Verification:
    """One verification of a dataset whose dataset.json is readable."""

    def __init__(
        self, root: Path, info: DatasetInfo, recipe: RecipeFacts, on_samples: Callable[[int, int], None] | None
    ) -> None:
        self.root, self.info, self.recipe, self.on_samples = root, info, recipe, on_samples
        self.schema = _schema_of_samples(root, info)
        self.total = sum(shard.rows for shard in info.shards)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def run(self, threads: int) -> VerifyReport:
        root, info = self.root, self.info
        schemas = {VIDEOS_FILE: VIDEOS, SAMPLES_FILE: self.schema, FAILURES_FILE: FAILURES, FACES_FILE: FACES}
        tables = {name: self._table(name, schema) for name, schema in schemas.items()}
        # Last, as the values are unpacked; earlier versions wrote no such file.
        tables[FACTS_FILE] = self._table(FACTS_FILE, FACTS) if (root / FACTS_FILE).exists() else None
        videos, samples, failures, faces, facts = tables.values()
        known = None if videos is None else from_table(videos, VideoEntry)
        entries = known or []
        self._check(DATASET_FILE, dataset_checks.check_shard_list, root, info, self.recipe)
        self._check(VIDEOS_FILE, dataset_checks.check_manifest, known)
        self._check(SAMPLES_FILE, dataset_checks.check_splits, entries, samples)
        self._check(SAMPLES_FILE, dataset_checks.check_order, info, samples)
        self._check(FACTS_FILE, facts_checks.check_facts, facts, entries, samples)
        self._check(FACTS_FILE, facts_checks.check_pair_colours, entries, facts, warn=True)
        self._check(FACES_FILE, facts_checks.check_faces_by_facts, faces, facts)
        self._check(FAILURES_FILE, facts_checks.check_failures_by_facts, failures, facts)
        self._check(DATASET_FILE, dataset_checks.check_counts, info, failures, samples)
        self._check(FAILURES_FILE, dataset_checks.check_failures, failures, samples)
        self._check(VIDEOS_FILE, dataset_checks.check_accounts, known, failures, samples)
        self._check(FACES_FILE, side_checks.check_faces, faces, self.recipe.detect.min_score)
        self._check(FACES_FILE, _check_face_videos, faces, known)
        self._check(DATASET_FILE, check_state, root, info, entries, tables)
        self._check(DATASET_FILE, check_build, root, info, entries)
        found = self._check_shards(samples, threads)
        self._check_samples(tables, found)
        self._check(DATASET_FILE, side_checks.check_documents, root, info)
        self._check(DATASET_FILE, side_checks.check_strays, root, info, warn=True)
        counts = len(found), sum(len(findings.samples) for findings in found), len({v.video_id for v in entries})
        return VerifyReport(condense(self.problems), *counts, condense(self.warnings))

    def _check(self, file: str, check: Callable[..., Iterable[Problem]], *needed: Any, warn: bool = False) -> None:
        """Collect a check's findings; an exception raised by the check is itself a finding.

        Args:
            needed: its arguments; a check that needs a table that cannot be read, which is None, is left out.
        """
        if any(value is None for value in needed):
            return
        findings = self.warnings if warn else self.problems
        try:
            findings.extend(check(*needed))
        except Exception as error:
            self.problems.append(_unchecked(file, error))

    def _table(self, name: str, schema: pa.Schema) -> pa.Table | None:
        """All rows of a table; None, with a problem reported, if it cannot be read."""
        try:
            table = read_table(self.root / name, schema)
            self._check_columns(name, schema)
            return table
        except UNREADABLE as error:
            message = f"it cannot be read: {str(error).removesuffix('.')}"
            self.problems.append(Problem(name, message, check="table_readable"))
            return None

    def _check_columns(self, name: str, schema: pa.Schema) -> None:
        """Only datasets of format version 1 may lack the columns added in version 2; a build writes no other ones."""
        import pyarrow.parquet as pq

        there = set(pq.read_schema(self.root / name).names)
        known = listing_schema(self.info.annotations) if schema is self.schema else schema
        if schema is self.schema and self.info.format_version > 1 and (lacking := sorted(ADDED.keys() - there)):
            raise ValueError(f"{' and '.join(lacking)} is missing")
        if more := sorted(there.difference(known.names)):
            message = f"it has columns that no build writes: {', '.join(more)[:200]}"
            self.warnings.append(Problem(name, message, check="stray_column"))

    def _check_shards(self, samples: pa.Table | None, threads: int) -> list[ShardFindings]:
        """Read the shards in parallel and collect findings in order; one more than `threads` is in flight."""
        shards = list({shard.path: shard for shard in self.info.shards if SHARD_PATH.fullmatch(shard.path)}.values())
        listed = _rows_by_shard(samples, shards)
        found: list[ShardFindings] = []
        running: deque[Future[ShardFindings]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for shard in shards:
                rows = listed.get(shard.path)
                running.append(pool.submit(self._check_shard, shard, rows))
                if len(running) > threads:
                    found.append(self._done(running.popleft()))
            found += map(self._done, running)
        return found

    def _check_shard(self, shard: ShardInfo, listed: pa.Table | None) -> ShardFindings:
        with borrowed(self.root, shard.path):
            return check_shard(self.root, shard, listed, self.recipe, self.info.annotations)

    def _done(self, shard: Future[ShardFindings]) -> ShardFindings:
        findings = shard.result()
        self.problems += findings.problems
        if self.on_samples is not None:
            self.on_samples(len(findings.samples), self.total)
        return findings

    def _check_samples(self, tables: dict[str, pa.Table | None], found: list[ShardFindings]) -> None:
        """Check the rows of samples.parquet, or those of the shards if it cannot be read."""
        videos, samples, failures, faces, facts = tables.values()
        if samples is None:
            nothing = samples_schema(self.info.annotations).empty_table()
            samples = pa.concat_tables([nothing, *(findings.samples for findings in found)])
        entries = VIDEOS.empty_table() if videos is None else videos
        seen = Seen.of([(findings.samples, findings.seen) for findings in found], samples)
        samples = samples.append_column("pixels", seen.pixels)
        rows = Rows(samples, entries, self.recipe, () if failures is None else _incomplete(failures), facts)
        self._check(SAMPLES_FILE, check_rows, rows)
        self._check(SAMPLES_FILE, check_rows, rows, GROUP_CHECKS)
        self._check(SAMPLES_FILE, framing_tells, rows)
        self._check(SAMPLES_FILE, dataset_checks.check_masks_recorded, rows, failures)
        self._check(SAMPLES_FILE, facts_checks.check_rows_by_facts, rows, facts)
        self._check(SAMPLES_FILE, facts_checks.check_frames_accounted, rows, entries, failures, facts)
        self._check(FACES_FILE, side_checks.check_faces_of_samples, rows, faces)
        self._check(SAMPLES_FILE, implausible, rows, entries, seen, warn=True)


def _schema_of_samples(root: Path, info: DatasetInfo) -> pa.Schema:
    """Schema to read samples.parquet with: with the places of images, if it has them for these shards."""
    try:
        places = has_true_places(root / SAMPLES_FILE, info.shards)
    except (OSError, ValueError, pa.ArrowException):
        places = False  # reported when the table is read
    return (listing_schema if places else samples_schema)(info.annotations)


def _check_face_videos(faces: pa.Table, entries: list[VideoEntry]) -> Iterator[Problem]:
    known = {entry.video_id for entry in entries}
    return dataset_checks.unknown_videos(FACES_FILE, words(faces["video_id"]), known)


def _incomplete(failures: pa.Table) -> set[str]:
    """Videos that lack samples: the recipe excludes them, or damaged ones could not be made again."""
    lost = pc.and_(failures["retryable"], pc.greater(failures["frames"], 0))
    return words(failures["video_id"].filter(pc.or_(lost, pc.equal(failures["reason"], Reason.EXCLUDED.value))))


def _rows_by_shard(samples: pa.Table | None, shards: list[ShardInfo]) -> dict[str, pa.Table]:
    """Split the rows of samples.parquet by shard."""
    if samples is None:
        return {}
    numbers = places(samples["shard"], pa.array([shard.path for shard in shards], pa.string()))
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(len(shards) + 1))
    return {shard.path: samples.take(order[starts[number] : starts[number + 1]]) for number, shard in enumerate(shards)}


def _unchecked(file: str, error: Exception) -> Problem:
    return Problem(file, f"it cannot be checked ({type(error).__name__}: {error})", check="checked")
