"""The face detector of a recipe, and conversion between faces and their stored records."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face, FaceDetector, create
from facemill.manifests import FrameFaces
from facemill.pipeline.config.sections import DetectSettings

__all__ = ["faces_of", "frame_faces", "load_detector", "whole_image"]


@lru_cache(maxsize=2)
def load_detector(settings: DetectSettings, min_face: float, device: str) -> FaceDetector:
    """The face detector of a recipe, loaded once per process.

    Args:
        min_face: shorter side of the smallest face to detect, source pixels.
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
        full_precision=settings.precision == "float32",
        options=settings.options,
    )


def frame_faces(key: str, video_id: str, frame_index: int, faces: Iterable[Face]) -> FrameFaces:
    faces = list(faces)
    return FrameFaces(
        key=key,
        video_id=video_id,
        frame_index=frame_index,
        boxes=tuple(tuple(face.bbox.tolist()) for face in faces),
        landmarks=tuple(tuple(face.landmarks.ravel().tolist()) for face in faces),
        scores=tuple(float(face.score) for face in faces),
    )


def whole_image(image: NDArray[np.uint8]) -> Face:
    """A face that fills an image [H, W, 3]; no detector ran, so its score and landmarks are 0."""
    height, width = image.shape[:2]
    return Face(np.array([0, 0, width, height], np.float32), 0.0, np.zeros((5, 2), np.float32))


def faces_of(record: FrameFaces) -> list[Face]:
    found = zip(record.boxes, record.landmarks, record.scores, strict=True)
    return [
        Face(np.array(box, np.float32), score, np.array(points, np.float32).reshape(5, 2))
        for box, points, score in found
    ]
