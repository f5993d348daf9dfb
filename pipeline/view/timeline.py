"""What happened to one video: its samples, the faces that were detected, and why frames gave no sample."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError
from facemill.manifests.codes import Stage
from facemill.manifests.schemas import FACES, FACTS, FAILURES, conform
from facemill.manifests.shards.dataset import FACES_FILE, FACTS_FILE, FAILURES_FILE, damage_told
from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import SourceFrames

__all__ = ["describe_video", "frame_size"]

_COLUMNS = ("pts_s", "bbox", "landmarks", "score", "affine", "crop_size", "mask_coverage")
_DROPS = (Stage.TRACK, Stage.FILTER, Stage.LABEL, Stage.DETECT)
"""Stages in which a detected face may be dropped."""


def describe_video(catalogue: Catalogue, sources: SourceFrames, video_id: str) -> dict[str, Any]:
    """The content of a video's page.

    Returns:
        `video`, its row of videos.parquet, and `facts`, that of facts.parquet, or None; `samples`: see `Catalogue`;
        `detected_in`, the video in which its faces were looked for, and the `cuts` of that one;
        `frames`, those on which faces were looked for, with index, faces, and `state`: `sample`, `no face`, or the
        reason to drop it, as far as it is known; `failures`, rows of failures.parquet; `summary`, a sentence.

    Raises:
        DatasetError: there is no such video, or a table is damaged.
    """
    root = catalogue.root
    entry, facts = sources.entry(video_id), _facts(root, video_id)
    samples = catalogue.of_video(video_id, _COLUMNS)
    failures = _rows(root / FAILURES_FILE, FAILURES, video_id)
    if entry is None and not samples and not facts and not failures:
        raise DatasetError(f"This dataset has no video {video_id}: choose one of its gallery.")
    faces = _rows(root / FACES_FILE, FACES, video_id)
    source, shift = (entry.source_id if entry else None), 0
    if not faces and source is not None:  # detected in its original
        faces = _rows(root / FACES_FILE, FACES, source)
        shift = Counter(row["pair_offset"] or 0 for row in samples).most_common(1)[0][0] if samples else 0
    searched = faces[0]["video_id"] if faces else video_id
    kept = {row["frame_index"] for row in samples}
    least = float(catalogue.info.recipe.get("filter", {}).get("min_face", 0))
    reasons = [row["reason"].replace("_", " ") for row in failures if row["stage"] in _DROPS and row["frames"]]
    frames = []
    for row in sorted(faces, key=lambda row: row["frame_index"]):
        index = row["frame_index"] + shift
        sizes = [min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in row["boxes"]]
        state = "sample" if index in kept else _state(sizes, least, reasons)
        found = [
            {"bbox": box, "score": score, "size": size}
            for box, score, size in zip(row["boxes"], row["scores"], sizes, strict=True)
        ]
        frames.append({"index": index, "faces": found, "state": state})
    return {
        "video": None if entry is None else asdict(entry),
        "facts": facts,
        "cuts": (_facts(root, searched) or {}).get("cuts", []),
        "samples": samples,
        "frames": frames,
        "failures": failures,
        "min_face": least,
        "detected_in": searched,
        "summary": _summary(len(samples), kept, frames, failures),
    }


def frame_size(root: Path, video_id: str) -> tuple[int, int] | None:
    """Width and height of a video's frames, pixels; None if facts.parquet does not state it."""
    facts = _facts(root, video_id)
    return None if facts is None else (facts["width"], facts["height"])


def _facts(root: Path, video_id: str) -> dict[str, Any] | None:
    rows = _rows(root / FACTS_FILE, FACTS, video_id)
    return rows[0] if rows else None


def _state(sizes: Sequence[float], least: float, reasons: Sequence[str]) -> str:
    """Why a frame gave no sample; failures.parquet has counts only, so that it may be one of several reasons."""
    if not sizes:
        return "no face"
    others = sorted(set(reasons) - {"no face", "too small"})
    if max(sizes) < least and ("too small" in reasons or not others):
        return "too small"
    return " or ".join(others) or "not in a kept track"


def _summary(
    samples: int, kept: set[int], frames: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]
) -> str:
    """Such as `12 samples in 12 frames; 20 of the 32 frames looked at gave none: no face 14, too small 6.`"""
    text = f"{samples} samples in {len(kept)} frames"
    lost = Counter(str(frame["state"]) for frame in frames if frame["state"] != "sample")
    if lost:
        why = ", ".join(f"{state} {count}" for state, count in lost.most_common())
        text += f"; {lost.total()} of the {len(frames)} frames looked at gave none: {why}"
    if whole := [row for row in failures if not row["frames"]]:
        text += f". {whole[0]['message']}"
    return text if text.endswith(".") else f"{text}."


def _rows(path: Path, schema: pa.Schema, video_id: str) -> list[dict[str, Any]]:
    """The rows of a table about a video; none if the dataset lacks the table."""
    if not path.is_file():
        return []
    with damage_told(path):
        return conform(pq.read_table(path, filters=pc.field("video_id") == video_id), schema).to_pylist()
