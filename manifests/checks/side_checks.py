"""Checks of the files beside the samples: faces.parquet, the card, croissant.json, and files of no dataset."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import __version__
from facemill.manifests.checks.bounded import content_of
from facemill.manifests.checks.columns import Column, codes, first_rows, joined, mask, pc, places
from facemill.manifests.checks.row_checks import RowCheck, check_rows
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.problem import Problem
from facemill.manifests.schemas import FACES
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
    VIDEOS_FILE,
    DatasetInfo,
)

__all__ = [
    "boxes_of",
    "check_documents",
    "check_faces",
    "check_faces_of_samples",
    "check_strays",
    "face_problems",
    "rows_of",
]

SAME_POINT, SAME_SCORE = 0.01, 1e-5
"""Tolerances between a sample's face and the detected one, in pixels of the frame, and of its score."""


def check_faces(faces: pa.Table, least_score: float) -> Iterator[Problem]:
    """Each frame is listed once, with equal numbers of boxes, landmarks and scores, all valid numbers.

    Args:
        least_score: the recipe's; the detector reports no fainter faces.
    """
    counts = [pc.list_value_length(faces[name]).to_numpy() for name in ("boxes", "landmarks", "scores")]
    differ = (counts[0] != counts[1]) | (counts[0] != counts[2])
    yield from face_problems(faces, "faces_counts", "the numbers of boxes, landmarks and scores differ", differ)
    scores = pc.list_flatten(faces["scores"]).to_numpy()
    boxes, landmarks = _vectors(faces, "boxes"), _vectors(faces, "landmarks")
    odd = rows_of(faces, "scores", ~((scores >= 0) & (scores <= 1)))
    odd |= rows_of(faces, "boxes", ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
    odd |= rows_of(faces, "landmarks", ~np.isfinite(landmarks).all(axis=1))
    message = "a score is not from 0 to 1, a coordinate is not finite, or a box has no area"
    yield from face_problems(faces, "faces_numbers", message, odd)
    yield from face_problems(faces, "faces_frame", "frame_index is below 0", faces["frame_index"].to_numpy() < 0)
    faint = rows_of(faces, "scores", scores < least_score - 1e-6)
    yield from face_problems(faces, "faces_min_score", f"a score is below the recipe's {least_score:g}", faint)
    named = mask(pc.match_substring_regex(faces["key"], "^[0-9a-f]{16,}$"))
    yield from face_problems(faces, "faces_key", "its key is not one of detections", ~named)
    again = np.ones(len(faces), bool)
    again[first_rows(codes(joined(faces["video_id"], faces["frame_index"])), again)] = False
    yield from face_problems(faces, "faces_twice", "this frame of its video is listed twice", again)


def face_problems(faces: pa.Table, check: str, message: str, broken: NDArray[np.bool_]) -> Iterator[Problem]:
    """The first broken row of faces.parquet, with a count of the others."""
    positions = np.flatnonzero(broken)
    for position in positions[:1].tolist():
        video, frame = faces["video_id"][position].as_py(), faces["frame_index"][position].as_py()
        text = f"frame {frame} of video {video}: {message}"
        yield Problem(FACES_FILE, text, position, check=check, more=len(positions) - 1)


def boxes_of(faces: pa.Table) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All boxes of faces.parquet, [M, 4], and the row of each, [M]."""
    return _vectors(faces, "boxes"), np.asarray(pc.list_parent_indices(faces["boxes"]).to_numpy(), np.int64)


def rows_of(faces: pa.Table, name: str, odd: Column) -> NDArray[np.bool_]:
    """Rows of faces.parquet [N] that have an odd one among their boxes, landmarks or scores, all of which are [M]."""
    return np.bincount(pc.list_parent_indices(faces[name]).to_numpy()[odd], minlength=len(faces)) > 0


def _vectors(faces: pa.Table, name: str) -> NDArray[np.float32]:
    """The vectors of all faces, [M, size]."""
    size = FACES.field(name).type.value_type.list_size
    return np.asarray(pc.list_flatten(pc.list_flatten(faces[name])).to_numpy(), np.float32).reshape(-1, size)


def check_faces_of_samples(rows: Rows, faces: pa.Table) -> Iterator[Problem]:
    """If detection ran on a sample's own video, its face is one of those detected in that frame."""
    frames = (joined(table["video_id"], table["frame_index"]) for table in (rows, faces))
    at = places(*frames)
    looked_at = ~rows.cropped & (~rows.known("pair_offset") | (rows.recipe.detect.on == "each"))
    there = np.flatnonzero(looked_at & (at >= 0))
    counts = pc.list_value_length(faces["boxes"]).to_numpy().astype(np.int64)
    first = np.concatenate([[0], np.cumsum(counts)])  # index of each frame's first face among all faces
    sample = np.repeat(there, counts[at[there]])  # a row for every sample and box of its frame
    scores = pc.list_flatten(faces["scores"]).to_numpy()[:, None]
    step = np.arange(len(sample)) - np.repeat(np.cumsum(counts[at[there]]) - counts[at[there]], counts[at[there]])
    found = first[at[sample]] + step  # index among all faces
    equal = np.ones(len(sample), bool)
    for name, values in (("bbox", boxes_of(faces)[0]), ("landmarks", _vectors(faces, "landmarks")), ("score", scores)):
        own = rows.numbers(name)[sample].reshape(len(sample), values.shape[1])
        equal &= (np.abs(values[found] - own) <= (SAME_SCORE if name == "score" else SAME_POINT)).all(axis=1)
    known = np.zeros(len(rows), bool)
    known[sample[equal]] = True
    yield from check_rows(rows, (
        RowCheck("faces_looked", f"{FACES_FILE} has no row for its frame", lambda rows: looked_at & (at < 0)),
        RowCheck("faces_box", f"{FACES_FILE} has no face with its box, landmarks and score in its frame",
                 lambda rows: looked_at & (at >= 0) & ~known),
    ))  # fmt: skip


# Documents --------------------------------------------------------------------------------------------


def check_documents(root: Path, info: DatasetInfo) -> Iterator[Problem]:
    """The card and croissant.json contain what this version generates; additions are allowed."""
    if info.facemill != __version__:
        return  # other versions generate other texts
    try:
        lines = content_of(root / CARD_FILE).decode("utf-8").splitlines()
        expected = dataset_card(info).splitlines()
        if lost := [line for line in expected if line not in set(lines)]:
            message = f"it lacks the line {lost[0]!r}"
            yield Problem(CARD_FILE, message, check="card", more=len(lost) - 1)
        known = {_key(line) for line in expected} - {None}
        if other := [line for line in lines if line not in set(expected) and _key(line) in known]:
            message = f"the line {other[0][:200]!r} contradicts {DATASET_FILE}"
            yield Problem(CARD_FILE, message, check="card", more=len(other) - 1)
    except Exception as error:
        yield Problem(CARD_FILE, f"it cannot be read or made ({error})", check="card")
    try:
        found, expected = json.loads(content_of(root / CROISSANT_FILE)), json.loads(croissant_metadata(info, root))
        if changed := [key for key, value in expected.items() if found.get(key) != value]:
            message = f"{', '.join(changed)} does not match {DATASET_FILE} and the files"
            yield Problem(CROISSANT_FILE, message, check="croissant")
    except Exception as error:
        yield Problem(CROISSANT_FILE, f"it cannot be read or made ({error})", check="croissant")


def _key(line: str) -> tuple[str, ...] | None:
    """The first two cells of a row of a Markdown table, which name what the others count; None for other lines."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return tuple(cells[:2]) if line.lstrip().startswith("|") and len(cells) > 2 else None


def check_strays(root: Path, info: DatasetInfo) -> Iterator[Problem]:
    """Files that no build writes, and links, which a copy of the folder may lack."""
    files = (DATASET_FILE, CARD_FILE, CROISSANT_FILE, VIDEOS_FILE, SAMPLES_FILE, FACES_FILE, FACTS_FILE, FAILURES_FILE)
    known = {*files, *(shard.path for shard in info.shards)}
    for folder, folders, names in os.walk(root):
        below = Path(folder).relative_to(root)
        if below == Path():
            folders[:] = sorted(set(folders) - {STATE_FOLDER})
        for name in sorted([*names, *(each for each in folders if (root / below / each).is_symlink())]):
            place = (below / name).as_posix()
            if (root / place).is_symlink():
                yield Problem(place, "it is a symbolic link, which a copy of the folder may lack", check="link")
            elif place not in known:
                yield Problem(place, "it is not a file of the dataset", check="stray_file")
