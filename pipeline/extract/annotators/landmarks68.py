"""The `landmarks68` annotator: 68 points of each face in iBUG's scheme, by dlib's shape predictor."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.detectors.installed import package_folder
from facemill.errors import ConfigError, DetectorError
from facemill.manifests.annotations import Annotation
from facemill.pipeline.extract.annotators import Annotator

__all__ = ["Landmarks68", "face_square"]

PACKAGE = "face_recognition_models"
FILE = "models/shape_predictor_68_face_landmarks.dat"
SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
BY_EYES, BY_MOUTH = 1.28, 1.16
"""Side of the square that dlib's own face detector gives, as half of 2.56 distances of the eyes and half of 2.31
distances of eyes and mouth: medians over faces of real videos, where the two alone vary by a tenth."""
BY_BOX, BELOW = 1.12, 0.1
"""The same by a face's box, which is narrower, and how far below its centre the square's is, in sides."""
SIDE = 200
"""Of the square in the chip that the predictor sees, pixels: its points are whole pixels of the chip."""
CHIP = 2 * SIDE


class Landmarks68(Annotator):
    """Dense landmarks (Kazemi and Sullivan, CVPR 2014), by dlib's model trained on 300-W: non-commercial use only."""

    outputs: Mapping[str, Annotation] = {
        "points": Annotation(
            "float[136]",
            "68 points (x, y), pixels of the crop, in iBUG's order: jaw (viewer's left first), brows, nose, eyes, lips",
        )
    }

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        if find_spec("dlib") is None:
            raise ConfigError('annotate.landmarks68 needs the package dlib-bin: pip install "facemill[landmarks]".')

    def annotate(
        self, frame: NDArray[np.uint8], face: Face, crop: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> Mapping[str, Any]:
        """See `Annotator.annotate`. The face is turned upright and scaled to a fixed size for the predictor.

        Raises:
            DetectorError: the weights are missing, or are not the expected ones.
        """
        import dlib

        to_chip = face_square(face)
        pixels = to_chip.copy()
        pixels[:, 2] += to_chip[:, :2].sum(1) / 2 - 0.5  # OpenCV counts from the centre of the first pixel
        chip = cv2.warpAffine(frame, pixels, (CHIP, CHIP))
        start = (CHIP - SIDE) // 2
        found = _predictor()(chip, dlib.rectangle(start, start, start + SIDE - 1, start + SIDE - 1))
        points = np.array([(point.x, point.y) for point in found.parts()]) + 0.5
        in_frame = (points - to_chip[:, 2]) @ np.linalg.inv(to_chip[:, :2]).T
        return {"points": (in_frame @ affine[:, :2].T + affine[:, 2]).ravel()}


def face_square(face: Face) -> NDArray[np.float64]:
    """The similarity [2, 3] from the frame to a chip in whose middle is the square that dlib's detector would give."""
    x1, y1, x2, y2 = face.bbox.astype(np.float64)
    side, down = BY_BOX * (x2 - x1), np.array([0.0, 1.0])
    centre = np.array([x1 + x2, y1 + y2]) / 2 + BELOW * side * down
    if face.landmarks.any():
        points = face.landmarks.astype(np.float64)
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        height = float(np.linalg.norm(mouth - eyes))
        side = BY_EYES * float(np.linalg.norm(points[1] - points[0])) + BY_MOUTH * height
        centre, down = (eyes + mouth) / 2, (mouth - eyes) / height if height else down
    x, y = SIDE / max(side, 1) * down
    linear = np.array([[y, -x], [x, y]])
    return np.column_stack([linear, CHIP / 2 - linear @ centre])


@lru_cache(maxsize=1)
def _predictor() -> Any:
    import dlib

    path = package_folder(PACKAGE, "whose weights place landmarks") / FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise DetectorError(f"The landmarks' weights {path} are missing or damaged: reinstall {PACKAGE} 0.3.0.")
    return dlib.shape_predictor(str(path))
