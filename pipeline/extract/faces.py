"""Detections kept and reused: a frame that this detector has seen is never looked at again."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.detectors.face import Face, FaceDetector, create
from facemill.manifests import FrameFaces, schemas
from facemill.manifests.shards.dataset import FACES_FILE, STATE_TABLES
from facemill.pipeline.config.recipe import DetectSettings

__all__ = ["KnownFaces", "detection_key", "frame_faces", "load_detector", "load_faces", "whole_picture"]

KnownFaces = dict[tuple[str, int], list[Face]]
"""Faces by (detection key, frame index)."""


@lru_cache(maxsize=2)
def load_detector(settings: DetectSettings, min_face: float, device: str) -> FaceDetector:
    """The face detector of a recipe, loaded once per process.

    Args:
        min_face: shorter side of the smallest face that is wanted, source pixels.
    """
    return create(
        settings.detector,
        device=device,
        variant=settings.variant,
        weights=settings.weights,
        max_side=None if settings.max_side == "auto" else settings.max_side,
        min_face=min_face if settings.max_side == "auto" and min_face > 0 else None,
        min_score=settings.min_score,
        batch=settings.batch,
        options=settings.options,
    )


def detection_key(
    video_id: str, video_bytes: int, frame_count: int, settings: DetectSettings, min_face: float, *, deinterlaced: bool
) -> str:
    """Hash of the video's identity (id, file size, frames) and of every setting that decides its faces."""
    choices = settings.model_dump(mode="json", exclude={"on", "batch", "weights"})
    smallest = min_face if settings.max_side == "auto" else None
    work = [video_id, video_bytes, frame_count, choices, smallest, _weights_digest(settings), deinterlaced]
    return hashlib.blake2b(json.dumps(work, sort_keys=True).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=8)
def _weights_digest(settings: DetectSettings) -> str | None:
    return settings.weights_digest()


def frame_faces(key: str, video_id: str, frame_index: int, faces: Iterable[Face]) -> FrameFaces:
    """The record of one frame's faces."""
    faces = list(faces)
    return FrameFaces(
        key=key,
        video_id=video_id,
        frame_index=frame_index,
        boxes=tuple(tuple(face.bbox.tolist()) for face in faces),
        landmarks=tuple(tuple(face.landmarks.ravel().tolist()) for face in faces),
        scores=tuple(float(face.score) for face in faces),
    )


def whole_picture(image: NDArray[np.uint8]) -> Face:
    """The face that fills a picture [H, W, 3]: no detector looked, so that its score and its landmarks are 0."""
    height, width = image.shape[:2]
    return Face(np.array([0, 0, width, height], np.float32), 0.0, np.zeros((5, 2), np.float32))


def load_faces(folder: Path, video_ids: Iterable[str], shard_id: str) -> KnownFaces:
    """Faces that an earlier build in `folder` found in these videos.

    Builds of one manifest mostly have the same plan, so the table of that build's shard of the same name is
    looked at first, and its faces.parquet only for videos that are not there.

    Raises:
        DatasetError: if there is no readable faces.parquet.
    """
    records: list[FrameFaces] = []
    missing = set(video_ids)
    for path in (folder / STATE_TABLES / f"{shard_id}.faces.parquet", folder / FACES_FILE):
        if missing and (path.name == FACES_FILE or path.is_file()):
            found = _read_faces(path, missing)
            missing -= {record.video_id for record in found}
            records += found
    return {(record.key, record.frame_index): _faces(record) for record in records}


def _read_faces(path: Path, video_ids: Iterable[str]) -> list[FrameFaces]:
    import pyarrow.dataset as ds  # here, since it imports pandas

    try:
        dataset = ds.dataset(path, schema=schemas.FACES, format="parquet")
        table = dataset.to_table(filter=ds.field("video_id").isin(list(video_ids)))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): give --faces the folder of a finished build.") from error
    return schemas.from_table(table, FrameFaces)


def _faces(record: FrameFaces) -> list[Face]:
    found = zip(record.boxes, record.landmarks, record.scores, strict=True)
    return [
        Face(np.array(box, np.float32), score, np.array(points, np.float32).reshape(5, 2))
        for box, points, score in found
    ]
