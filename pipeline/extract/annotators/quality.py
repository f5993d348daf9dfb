"""The `quality` annotator: sharpness, brightness, head pose, face size, and truncation at the frame's edge."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.manifests.annotations import Annotation
from facemill.pipeline.extract.annotators import Annotator
from facemill.pipeline.extract.filters import sharpness

__all__ = ["Quality", "head_pose"]

FACE_POINTS = np.array([[-32, -34, 30], [32, -34, 30], [0, 0, 0], [-26, 33, 22], [26, 33, 22]], np.float64)
"""Both eyes, nose and both mouth corners of an adult's face seen from the front, in millimetres from the tip of the
nose: x to the right, y down, z away from the camera. Faces vary by a few millimetres, so angles by a few degrees."""


class Quality(Annotator):
    """Sharpness, brightness, head pose, size in the frame, and the share of the crop that lies outside the frame."""

    outputs: Mapping[str, Annotation] = {
        "sharpness": Annotation("float", "variance of the Laplacian of the gray crop"),
        "brightness": Annotation("float", "mean gray level of the crop, 0 to 255"),
        "face_size": Annotation("float", "shorter side of the face box, source pixels"),
        "truncation": Annotation("float", "share of the crop that lies outside the frame, 0 to 1"),
        "yaw": Annotation("float", "head turned to the viewer's right, degrees, by the five landmarks"),
        "pitch": Annotation("float", "head turned up, likewise"),
        "roll": Annotation("float", "head tilted clockwise, likewise"),
    }

    def annotate(
        self, frame: NDArray[np.uint8], face: Face, crop: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> Mapping[str, Any]:
        """See `Annotator.annotate`; the angles are None if the face has no landmarks."""
        x1, y1, x2, y2 = face.bbox
        yaw, pitch, roll = head_pose(face.landmarks) if face.landmarks.any() else (None, None, None)
        return {
            "sharpness": sharpness(crop),
            "brightness": cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean(),
            "face_size": float(min(x2 - x1, y2 - y1)),
            "truncation": _outside(frame.shape[:2], affine, len(crop)),
            "yaw": yaw,
            "pitch": pitch,
            "roll": roll,
        }


def head_pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float]:
    """Yaw (to the viewer's right), pitch (up) and roll (clockwise) of a head, degrees.

    A rigid face model is fitted to the points under scaled orthography (a distant camera).

    Args:
        landmarks: [5, 2], as in `Face`.
    """
    model, points = (each - each.mean(axis=0) for each in (FACE_POINTS, landmarks.astype(np.float64)))
    across, down = np.linalg.lstsq(model, points, rcond=None)[0].T  # [3] each
    # The nearest pair of orthonormal vectors are the first two rows of the rotation.
    left, _, right = np.linalg.svd(np.stack([across, down]), full_matrices=False)
    first, second = left @ right
    third = np.cross(first, second)
    # The rotation is composed of pitch, then yaw, then roll.
    yaw, pitch, roll = (
        np.arcsin(np.clip(third[0], -1, 1)),
        np.arctan2(-third[1], third[2]),
        np.arctan2(second[0], first[0]),
    )
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _outside(shape: tuple[int, ...], affine: NDArray[np.float64], size: int) -> float:
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) - affine[:, 2]
    square = (corners @ np.linalg.inv(affine[:, :2]).T).astype(np.float32)  # pixels of the frame
    height, width = shape
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inside, _ = cv2.intersectConvexConvex(square, frame)
    return float(np.clip(1 - inside * abs(np.linalg.det(affine[:, :2])) / size**2, 0, 1))
