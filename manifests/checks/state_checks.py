"""Checks of the build's state: the shards' results, their tables, and build.json agree with the dataset."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from facemill import __version__
from facemill.manifests.checks.bounded import content_of, open_parquet, read_table
from facemill.manifests.problem import Problem
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.schemas import FACTS, first_of_each
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    split_order,
    state_path,
    state_results,
)
from facemill.manifests.storage import footer_digest, parse_json, sha256_of
from facemill.manifests.videos import manifest_digest

__all__ = ["check_build", "check_state"]

DIGEST = re.compile(r"[0-9a-f]{64}")
SECTIONS = ("recipe", "weights file", "version of facemill or its libraries", "device")
"""The parts of build.json whose digest is in every shard's result."""
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def check_build(root: Path, info: DatasetInfo, videos: Sequence[VideoEntry]) -> Iterator[Problem]:
    """build.json, if still present, has the recipe, the versions and the manifest of the dataset."""
    path = root / STATE_FOLDER / BUILD_FILE
    name = path.relative_to(root).as_posix()
    if not path.exists():
        if info.facemill == __version__ and any(True for _ in state_results(root)):
            yield Problem(name, "it is missing, but the shards' results are there", check="build_json")
        return
    try:
        build = parse_json(content_of(path))
        versions = {"facemill": info.facemill, **info.versions}
        differing = [
            what
            for what, told, there in (
                ("recipe", build["recipe"], _shared(build["recipe"], info.recipe)),
                ("versions", build["version of facemill or its libraries"], versions),
                ("device", build["device"], info.device or build["device"]),  # earlier versions did not state it
            )
            if told != there
        ]
        if differing:
            message = f"{DATASET_FILE} has another {' and other '.join(differing)}"
            yield Problem(name, message, check="build_json")
        if videos and build["manifest"] != manifest_digest(videos):
            yield Problem(VIDEOS_FILE, f"its rows are not those that {name} states", check="build_manifest")
    except UNREADABLE as error:
        yield Problem(name, f"it does not describe a build ({type(error).__name__}: {error})", check="build_json")


def _shared(keys: Any, values: Any) -> Any:
    """The part of `values` that has the keys of `keys`, at every level: some settings may differ between runs."""
    if not (isinstance(keys, Mapping) and isinstance(values, Mapping)):
        return values
    return {key: _shared(value, values[key]) for key, value in keys.items() if key in values}


def check_state(
    root: Path, info: DatasetInfo, videos: Sequence[VideoEntry], tables: Mapping[str, pa.Table | None]
) -> Iterator[Problem]:
    """The shards' results, if still present, agree with dataset.json on shards, tables, failures and videos.

    Args:
        tables: by name of the file; None for one that cannot be read.
    """
    paths = sorted(state_results(root), key=lambda path: (split_order(path.stem.partition("-")[0])[0], path.name))
    if not paths:
        return
    shards = {Path(shard.path).stem: shard for shard in info.shards}
    failed: dict[str, Any] = {}  # a reference fails alike in several shards
    counts, identities = [0, 0], set()
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            result = parse_json(content_of(path))
            failed |= {json.dumps(failure, sort_keys=True): failure for failure in result["failures"]}
            yield from _check_result(root, shards.get(path.stem), path, result)
            identities.add(result["identity"])
            counts = [counts[0] + result["videos"], counts[1] + result["videos_without_samples"]]
        except UNREADABLE as error:
            yield Problem(name, f"it is not a shard's result ({type(error).__name__}: {error})", check="state_readable")
    described = _described(root)
    if described is not None and identities - {described}:
        message = f"the shards' results were made in another way than {BUILD_FILE} states"
        yield Problem(STATE_FOLDER, message, check="state_identity")
    if len(identities) > 1:
        message = "the shards' results state that they were made in different ways"
        yield Problem(STATE_FOLDER, message, check="state_identity")
    stems = [path.stem for path in paths]
    for stem in sorted(shards.keys() - set(stems)):
        yield Problem(STATE_FOLDER, f"it has no result for the shard {stem[:200]}", check="state_missing")
    samples, failures = tables[SAMPLES_FILE], tables[FAILURES_FILE]
    if failures is not None and failures.to_pylist() != list(failed.values()):
        message = f"it differs from the failures of the shards' results in {STATE_FOLDER}, in the order of the shards"
        yield Problem(FAILURES_FILE, message, check="state_failures")
    if samples is not None and videos:
        sampled = sum(video.split != REFERENCE for video in videos)
        expected = [sampled, sampled - len(samples["video_id"].unique())]
        if counts != expected:
            message = "the shards' results count {} videos, {} of them without samples, but there are {} and {}"
            yield Problem(STATE_FOLDER, message.format(*counts, *expected), check="state_videos")
    for file in (SAMPLES_FILE, FACES_FILE, FACTS_FILE):
        table = tables[file]
        parts = [_state_table(root, stem, file) for stem in stems]
        if file == FACTS_FILE and not any(part.is_file() for part in parts):
            continue  # earlier versions kept facts in the shards' results
        if table is not None and not _is_made_of(table, parts, FACTS if file == FACTS_FILE else table.schema):
            message = f"it differs from the rows of the shards' tables in {STATE_FOLDER}, in the order of the shards"
            yield Problem(file, message, check="state_merged")
        if table is None and file == FACTS_FILE:
            yield Problem(file, f"it is missing, but {STATE_FOLDER} has tables of facts", check="state_merged")


def _check_result(root: Path, known: ShardInfo | None, path: Path, result: dict[str, Any]) -> Iterator[Problem]:
    name = path.relative_to(root).as_posix()
    shard = result["shard"] or {}
    told = tuple(shard.get(key) for key in ("path", "rows", "bytes", "sha256"))
    listed = (None,) * 4 if known is None else (known.path, known.rows, known.bytes, known.sha256)
    if known is not None and told == listed and (root / known.path).is_file():
        told, listed = (*told, shard["footer"]), (*listed, footer_digest(root / known.path))
    if told != listed:
        message = f"{DATASET_FILE} disagrees about the shard {str(shard.get('path', path.stem))[:200]}"
        yield Problem(name, message, check="state_shard")
    seconds = result["timings"].values()
    if not (DIGEST.fullmatch(result["fingerprint"]) and all(0 <= each < math.inf for each in seconds)):
        yield Problem(name, "its fingerprint is not a SHA-256, or a time is not possible", check="state_values")
    if (result["shard_id"], result["split"]) != (path.stem, path.stem.rpartition("-")[0]):
        yield Problem(name, "it names another shard, or another split", check="state_shard")
    for kind in (SAMPLES_FILE, FACES_FILE, FACTS_FILE):
        file = result[kind.partition(".")[0]]
        if kind == FACTS_FILE and isinstance(file, list):
            continue
        table = _state_table(root, path.stem, kind)  # always inside the folder, for any content of the result
        place = table.relative_to(root).as_posix()
        told = tuple(file[key] for key in ("rows", "bytes", "sha256", "footer"))
        moved = file["path"] not in (state_path(path.stem, kind), f"{STATE_FOLDER}/{path.stem}.{kind}")
        if moved or not table.is_file() or told != _description(table):
            yield Problem(name, f"its table {place} is missing or has changed", check="state_table")


def _described(root: Path) -> str | None:
    """Digest of the way of building that build.json describes (`WorkIdentity.digest`); None if it does not."""
    try:
        build = parse_json(content_of(root / STATE_FOLDER / BUILD_FILE))
        values = {section: build[section] for section in SECTIONS}
    except UNREADABLE:  # reported by `check_build`
        return None
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _description(table: Path) -> tuple[int | None, int, str, str]:
    rows = None
    with suppress(pa.ArrowException, OSError, ValueError), open_parquet(table) as file:
        rows = int(file.metadata.num_rows)
    return rows, table.stat().st_size, sha256_of(table), footer_digest(table)


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
