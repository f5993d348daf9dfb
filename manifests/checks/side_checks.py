"""Checks of the files beside the samples: faces.parquet, the build's state, the card and croissant.json."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from facemill import __version__
from facemill.manifests.annotations import listing_schema
from facemill.manifests.checks.bounded import read_table
from facemill.manifests.checks.row_checks import RowCheck, check_rows
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.problem import Problem
from facemill.manifests.records import SPLITS
from facemill.manifests.schemas import FACES, FACTS, first_of_each
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    DatasetInfo,
    state_path,
    state_results,
)
from facemill.manifests.storage import refuse_special_file, sha256_of

__all__ = ["check_documents", "check_faces", "check_faces_of_samples", "check_state"]

pc: Any = pyarrow.compute
"""Untyped: the stubs support neither columns of two types nor nulls."""

SAME_BOX = 0.01
"""Tolerance between a sample's box and the detected one, in pixels of the frame."""
LONGEST_DOCUMENT = 64 << 20
"""Largest JSON or Markdown file that is read, in bytes."""


def check_faces(faces: pa.Table) -> Iterator[Problem]:
    """Each frame is listed once, with equal numbers of boxes, landmarks and scores, all valid numbers."""
    counts = [pc.list_value_length(faces[name]).to_numpy() for name in ("boxes", "landmarks", "scores")]
    yield from _faces(faces, "faces_counts", "the numbers of boxes, landmarks and scores differ",
                      (counts[0] != counts[1]) | (counts[0] != counts[2]))  # fmt: skip
    scores = pc.list_flatten(faces["scores"]).to_numpy()
    owner = pc.list_parent_indices(faces["scores"]).to_numpy()
    odd = np.zeros(len(faces), bool)
    odd[owner[~((scores >= 0) & (scores <= 1))]] = True
    for name in ("boxes", "landmarks"):
        numbers = pc.list_flatten(pc.list_flatten(faces[name])).to_numpy()
        width = FACES.field(name).type.value_type.list_size
        finite = np.isfinite(numbers).reshape(-1, width).all(axis=1)
        odd[pc.list_parent_indices(faces[name]).to_numpy()[~finite]] = True
    yield from _faces(faces, "faces_numbers", "a score is not from 0 to 1, or a coordinate is not finite", odd)
    yield from _faces(faces, "faces_frame", "frame_index is below 0", faces["frame_index"].to_numpy() < 0)
    keys = pc.binary_join_element_wise(faces["video_id"], pc.cast(faces["frame_index"], pa.string()), "/")
    encoded: Any = pc.dictionary_encode(keys.combine_chunks())
    codes = encoded.indices.to_numpy()
    again = np.ones(len(faces), bool)
    again[np.unique(codes, return_index=True)[1]] = False
    yield from _faces(faces, "faces_twice", "this frame of its video is listed twice", again)


def _faces(faces: pa.Table, check: str, message: str, broken: "np.ndarray[Any, Any]") -> Iterator[Problem]:
    positions = np.flatnonzero(broken)
    for position in positions[:1].tolist():
        video, frame = faces["video_id"][position].as_py(), faces["frame_index"][position].as_py()
        text = f"frame {frame} of video {video}: {message}"
        yield Problem(FACES_FILE, text, position, check=check, more=len(positions) - 1)


def check_faces_of_samples(rows: Rows, faces: pa.Table) -> Iterator[Problem]:
    """If detection ran on a sample's own video, its box is one of those detected in that frame."""
    seen = pc.binary_join_element_wise(faces["video_id"], pc.cast(faces["frame_index"], pa.string()), "/")
    wanted = pc.binary_join_element_wise(rows["video_id"], pc.cast(rows["frame_index"], pa.string()), "/")
    at = np.asarray(pc.fill_null(pc.index_in(wanted, value_set=seen), -1).to_numpy(), np.int64)
    looked_at = ~rows.cropped & (~rows.known("pair_offset") | (rows.recipe.detect.on == "each"))
    there = np.flatnonzero(looked_at & (at >= 0))
    counts = pc.list_value_length(faces["boxes"]).to_numpy().astype(np.int64)
    first = np.concatenate([[0], np.cumsum(counts)])  # index of each frame's first box among all boxes
    boxes = pc.list_flatten(pc.list_flatten(faces["boxes"])).to_numpy().reshape(-1, 4)
    sample = np.repeat(there, counts[at[there]])  # a row for every sample and box of its frame
    step = np.arange(len(sample)) - np.repeat(np.cumsum(counts[at[there]]) - counts[at[there]], counts[at[there]])
    equal = (np.abs(boxes[first[at[sample]] + step] - rows.numbers("bbox")[sample]) <= SAME_BOX).all(axis=1)
    known = np.zeros(len(rows), bool)
    known[sample[equal]] = True
    yield from check_rows(rows, (
        RowCheck("faces_looked", f"{FACES_FILE} has no row for its frame", lambda rows: looked_at & (at < 0)),
        RowCheck("faces_box", f"{FACES_FILE} has no face with its box in its frame",
                 lambda rows: looked_at & (at >= 0) & ~known),
    ))  # fmt: skip


# State ------------------------------------------------------------------------------------------------


def check_state(
    root: Path,
    info: DatasetInfo,
    samples: pa.Table | None,
    faces: pa.Table | None,
    facts: pa.Table | None,
    failures: pa.Table | None,
) -> Iterator[Problem]:
    """The build's state, if still present, agrees with dataset.json on shards, tables and failures."""
    paths = sorted(state_results(root), key=lambda path: (_split_order(path.stem.partition("-")[0]), path.name))
    if not paths:
        return
    failed: dict[str, Any] = {}  # a reference fails alike in several shards
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            result = json.loads(_content(path))
            failed |= {json.dumps(failure, sort_keys=True): failure for failure in result["failures"]}
            yield from _check_result(root, info, name, result)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            yield Problem(name, f"it is not a shard's result ({type(error).__name__}: {error})", check="state_readable")
    stems = [path.stem for path in paths]
    for stem in sorted({Path(shard.path).stem for shard in info.shards} - set(stems)):
        yield Problem(STATE_FOLDER, f"it has no result for the shard {stem[:200]}", check="state_missing")
    if failures is not None and failures.to_pylist() != list(failed.values()):
        message = f"it differs from the failures of the shards' results in {STATE_FOLDER}, in the order of the shards"
        yield Problem(FAILURES_FILE, message, check="state_failures")
    for file, table, schema in (
        (SAMPLES_FILE, samples, listing_schema(info.annotations) if samples is None else samples.schema),
        (FACES_FILE, faces, FACES),
        (FACTS_FILE, facts, FACTS),
    ):
        parts = [_state_table(root, stem, file) for stem in stems]
        if file == FACTS_FILE and not any(part.is_file() for part in parts):
            continue  # earlier versions kept facts in the shards' results
        if table is not None and not _is_made_of(table, parts, schema):
            message = f"it differs from the rows of the shards' tables in {STATE_FOLDER}, in the order of the shards"
            yield Problem(file, message, check="state_merged")


def _check_result(root: Path, info: DatasetInfo, name: str, result: dict[str, Any]) -> Iterator[Problem]:
    known = {shard.path: (shard.rows, shard.bytes, shard.sha256) for shard in info.shards}
    shard = result["shard"]
    if shard and known.get(shard["path"]) != (shard["rows"], shard["bytes"], shard["sha256"]):
        message = f"{DATASET_FILE} disagrees about the shard {str(shard['path'])[:200]}"
        yield Problem(name, message, check="state_shard")
    for kind in (SAMPLES_FILE, FACES_FILE, FACTS_FILE):
        file = result[kind.partition(".")[0]]
        if kind == FACTS_FILE and isinstance(file, list):
            continue
        path = _state_table(root, Path(name).stem, kind)  # always inside the folder, for any content of the result
        if not path.is_file() or (path.stat().st_size, sha256_of(path)) != (file["bytes"], file["sha256"]):
            message = f"its table {path.relative_to(root).as_posix()} is missing or has changed"
            yield Problem(name, message, check="state_table")


def _state_table(root: Path, shard_id: str, kind: str) -> Path:
    """Path of a shard's table; earlier versions stored it directly in the state folder."""
    path = root / state_path(shard_id, kind)
    return path if path.is_file() else root / STATE_FOLDER / f"{shard_id}.{kind}"


def _is_made_of(table: pa.Table, parts: list[Path], schema: pa.Schema) -> bool:
    """Whether the table is the concatenation of the parts."""
    start = 0
    tables = (read_table(path, schema) for path in parts)
    try:
        for part in first_of_each(tables) if schema is FACTS else tables:
            if not table.slice(start, len(part)).equals(part):
                return False
            start += len(part)
    except Exception:  # reported by `_check_result`
        return False
    return start == len(table)


# Documents --------------------------------------------------------------------------------------------


def check_documents(root: Path, info: DatasetInfo) -> Iterator[Problem]:
    """The card and croissant.json contain what this version generates; additions are allowed."""
    if info.facemill != __version__:
        return  # other versions generate other texts
    try:
        lines = set(_content(root / CARD_FILE).decode("utf-8").splitlines())
        lost = [line for line in dataset_card(info).splitlines() if line not in lines]
        if lost:
            message = f"it lacks the line {lost[0]!r}"
            yield Problem(CARD_FILE, message, check="card", more=len(lost) - 1)
    except Exception as error:
        yield Problem(CARD_FILE, f"it cannot be read or made ({error})", check="card")
    try:
        found, expected = json.loads(_content(root / CROISSANT_FILE)), json.loads(croissant_metadata(info, root))
        changed = [key for key, value in expected.items() if found.get(key) != value]
        if changed:
            message = f"{', '.join(changed)} does not match {DATASET_FILE} and the files"
            yield Problem(CROISSANT_FILE, message, check="croissant")
    except Exception as error:
        yield Problem(CROISSANT_FILE, f"it cannot be read or made ({error})", check="croissant")


def _split_order(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _content(path: Path) -> bytes:
    """The bytes of a regular file of limited size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not a regular file.
    """
    refuse_special_file(path)
    if path.stat().st_size > LONGEST_DOCUMENT:
        raise ValueError(f"it has {path.stat().st_size} bytes")
    return path.read_bytes()
