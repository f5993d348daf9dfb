"""What is known of each scored file: its persons, and what could not be scored."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill.manifests import SAMPLES, FailureRecord, FrameFaces, Reason, Stage, from_table
from facemill.manifests.shards.dataset import FACES_FILE, FAILURES_FILE
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.config.sections import FilterSettings
from facemill.pipeline.evaluate.metrics import score_videos
from facemill.pipeline.extract.faces import faces_of
from facemill.pipeline.extract.filters import TooSmall, TooSmallOptions
from facemill.pipeline.extract.samples import NO_IMAGE

__all__ = ["FACE_SCORES", "describe", "faces_table", "in_order", "result_of", "score_persons", "unscored"]

IN_NO_CLIP = "in_no_clip"
"""Reason why a face is not scored: the detector takes clips, and it is in none."""
_COLUMNS: dict[str, Any] = {
    "file": pa.string(),
    "frame_index": pa.int32(),
    "pts_s": pa.float64(),
    "track_id": pa.int32(),
    "bbox": SAMPLES.field("bbox").type,
    "detection_score": SAMPLES.field("score").type,
    "logit": pa.float64(),
    "score": pa.float64(),
}
FACE_SCORES = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()])
"""scores.parquet: a row per face and frame.

`file` is its name as given. Frames are counted from 0 and timed by `pts_s`, seconds (0 in an image); `track_id` numbers
the persons of a file; `bbox` is xyxy in source pixels. `logit` is the log-odds of fake, and `score` its probability.
"""


def faces_table(samples: pa.Table, scores: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """A table with schema `FACE_SCORES`, in the order of the samples.

    Args:
        samples: of the built dataset.
        scores: with schema `SCORES`, a row for each.
        names: the files' names by video id.
    """
    columns: dict[str, Any] = {name: samples[name] for name in ("frame_index", "pts_s", "track_id", "bbox")}
    columns["file"] = [names[str(video_id)] for video_id in samples["video_id"].to_pylist()]
    columns["detection_score"] = samples["score"]
    columns |= {name: scores[name] for name in ("logit", "score")}
    return pa.table({name: columns[name] for name in FACE_SCORES.names}).cast(FACE_SCORES)


def in_order(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """Rows of a table with schema `FACE_SCORES` by file, in the order of their names, then by frame and person."""
    place = pc.index_in(table["file"], value_set=pa.array([*names], pa.string()))
    keys: Any = [(name, "ascending") for name in ("place", "frame_index", "track_id")]
    return table.append_column("place", place).sort_by(keys).drop_columns("place")


def score_persons(scores: pa.Table, aggregate: str) -> dict[str, list[dict[str, Any]]]:
    """Score each person of each video as `score_videos` scores a video: by video id, the highest first."""
    place = scores.schema.get_field_index("video_id")
    parts: Any = scores["video_id"], scores["track_id"].cast(pa.string()), "/"
    joined = pc.binary_join_element_wise(*parts)
    persons: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = score_videos(scores.set_column(place, scores.schema.field(place), joined), aggregate)
    for row in rows.sort_by([("logit", "descending")]).to_pylist():
        video_id, _, track = row["video_id"].rpartition("/")
        persons[video_id].append({"track_id": int(track), **{name: row[name] for name in ("score", "logit", "frames")}})
    return persons


def unscored(folder: Path, samples: pa.Table, recipe: Recipe, unclipped: pa.Table) -> dict[str, dict[str, Any]]:
    """What could not be scored of a built dataset's videos, by video id: failures, frames without a score, and faces.

    Args:
        samples: the rows of samples.parquet that are scored.
        unclipped: those that are not, since they are in no clip.

    Returns:
        `failures` with stage, reason, message and number of frames (0 for the whole video); `frames`, indices of those
        that decode; `faces` with frame, box, detection score and reason.
    """
    failures: dict[str, list[FailureRecord]] = defaultdict(list)
    for failure in from_table(pq.read_table(folder / FAILURES_FILE), FailureRecord):
        failures[failure.video_id].append(failure)
    detected: dict[str, list[FrameFaces]] = defaultdict(list)
    for frame in from_table(pq.read_table(folder / FACES_FILE), FrameFaces):
        detected[frame.video_id].append(frame)
    scored, in_no_clip = _places(samples), _places(unclipped)
    frames = {(video_id, frame) for video_id, frame, _ in scored}
    found: dict[str, dict[str, Any]] = {}
    for video_id in {*failures, *detected}:
        told, seen = failures[video_id], sorted(detected[video_id], key=lambda frame: frame.frame_index)
        left = []
        for frame in seen:
            for box, face in zip(frame.boxes, faces_of(frame), strict=True):
                place = video_id, frame.frame_index, box
                if place not in scored:
                    reason = IN_NO_CLIP if place in in_no_clip else _reason(face, told, recipe.filter)
                    left.append({"frame_index": place[1], "bbox": box, "detection_score": face.score, "reason": reason})
        found[video_id] = {
            "failures": [
                {name: getattr(failure, name) for name in ("stage", "reason", "message", "frames")} for failure in told
            ],
            "frames": [frame.frame_index for frame in seen if (video_id, frame.frame_index) not in frames],
            "faces": left,
        }
    return found


def _places(samples: pa.Table) -> set[tuple[str, int, tuple[float, ...]]]:
    """Video, frame and box of each row."""
    rows = samples.select(["video_id", "frame_index", "bbox"]).to_pylist()
    return {(row["video_id"], row["frame_index"], tuple(row["bbox"])) for row in rows}


def _reason(face: Any, failures: Iterable[FailureRecord], filters: FilterSettings) -> str:
    """Why a face has no crop; several reasons, joined by `or`, if what a build records does not tell them apart."""
    if small := TooSmall(TooSmallOptions(min_face=filters.min_face)).reason(face, NO_IMAGE):
        return small
    other = {failure.reason for failure in failures if failure.stage in (Stage.TRACK, Stage.FILTER)}
    if filters.min_sharpness:
        other.add(Reason.BLURRED)
    if filters.more:
        other.add(Reason.FILTERED)
    return " or ".join(sorted(other - {Reason.TOO_SMALL}))


def result_of(
    name: str,
    persons: Sequence[Mapping[str, Any]],
    faces: Sequence[Mapping[str, Any]],
    lacking: Mapping[str, Any],
    threshold: float | None,
) -> dict[str, Any]:
    """A file's part of scores.json.

    Args:
        persons: the highest first; the file's score is that of the first one.
        faces: the file's rows of scores.parquet.
        lacking: see `unscored`.
        threshold: log-odds.
    """
    own: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for face in faces:
        own[face["track_id"]].append({key: value for key, value in face.items() if key not in ("file", "track_id")})
    judged = [
        {
            **person,
            "above_threshold": None if threshold is None else person["logit"] > threshold,
            "faces": own[person["track_id"]],
        }
        for person in persons
    ]
    highest: dict[str, Any] = judged[0] if judged else dict.fromkeys(("score", "logit", "above_threshold"))
    shown = {key: highest[key] for key in ("score", "logit", "above_threshold")}
    nothing: dict[str, Any] = {"failures": [], "frames": [], "faces": []}
    return {"file": name, **shown, "persons": judged, "not_scored": {**nothing, **lacking}}


def describe(result: Mapping[str, Any], threshold: float | None) -> str:
    """A file's line on the terminal; the threshold is a score."""
    lacking = result["not_scored"]
    if not result["persons"]:
        short = any(face["reason"] == IN_NO_CLIP for face in lacking["faces"])
        none = "No face is in as many frames in a row as the detector takes." if short else "No face was found."
        why = " ".join(failure["message"] for failure in lacking["failures"]) or none
        return f"{result['file']}: not scored. {why}"
    shown = [f"{person['score']:.3f} (person {person['track_id']})" for person in result["persons"][:8]]
    more = len(result["persons"]) - len(shown)
    line = f"{result['file']}: {', '.join(shown)}{f' and {more} more persons' if more else ''}"
    if threshold is not None:
        line += f", {'above' if result['above_threshold'] else 'below'} the threshold {threshold:.3f}"
    undecoded = sum(failure["frames"] for failure in lacking["failures"] if failure["stage"] == Stage.DECODE)
    counts = {"faces": len(lacking["faces"]), "frames": len(lacking["frames"]) + undecoded}
    left = [f"{count} {what.removesuffix('s') if count == 1 else what}" for what, count in counts.items() if count]
    return line + (f"; not scored: {', '.join(left)}" if left else "")
