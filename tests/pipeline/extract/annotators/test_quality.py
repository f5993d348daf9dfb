"""The quality annotator: poses of heads turned by known angles, and values that can be computed from the crop."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facemill.detectors.face import Face
from facemill.pipeline.extract.annotators.quality import FACE_POINTS, Quality, head_pose

NO_OPTIONS = Quality.options_type()


def landmarks(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """A head 60 cm from a camera, first nodding, then turning, then tilting."""
    turned = Rotation.from_euler("XYZ", [0, 0, roll], degrees=True) * Rotation.from_euler("Y", -yaw, degrees=True)
    points = (turned * Rotation.from_euler("X", -pitch, degrees=True)).apply(FACE_POINTS)
    points[:, 2] += 600
    return points[:, :2] / points[:, 2:] * 900 + [320, 180]


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (30, 0, 0), (-45, 0, 0), (0, 20, 0), (0, -25, 0), (0, 0, 40), (20, 15, -30)]
)
def test_known_turns_are_found(angles: tuple[float, float, float]) -> None:
    assert head_pose(landmarks(*angles)) == pytest.approx(angles, abs=4)


def test_directions_are_the_viewers() -> None:
    """The nose of a head turned right lies right of the middle of its eyes; raised, it lies nearer to them."""
    front, right, up = landmarks(0, 0, 0), landmarks(30, 0, 0), landmarks(0, 25, 0)
    assert right[2, 0] - right[:2, 0].mean() > 10
    assert up[2, 1] - up[:2, 1].mean() < front[2, 1] - front[:2, 1].mean()
    assert landmarks(0, 0, 20)[1, 1] > landmarks(0, 0, 20)[0, 1]


def annotate(box: tuple[float, ...], frame: np.ndarray, size: int = 64, points: np.ndarray | None = None):
    x1, y1, x2, _ = box
    zoom = size / (x2 - x1)
    affine = np.array([[zoom, 0, -x1 * zoom], [0, zoom, -y1 * zoom]])
    half_pixel = affine + np.array([[0, 0, (zoom - 1) / 2]] * 2)
    crop = cv2.warpAffine(frame, half_pixel, (size, size))
    face = Face(np.array(box, np.float32), 0.99, np.zeros((5, 2), np.float32) if points is None else points)
    return Quality(NO_OPTIONS).annotate(frame, face, crop, affine), crop


@pytest.mark.parametrize(
    ("box", "share"),
    [((10, 10, 110, 110), 0.0), ((-50, 0, 50, 100), 0.5), ((150, 150, 250, 250), 0.75), ((-25, -25, 75, 75), 7 / 16)],
)
def test_truncation_is_the_share_beyond_the_edge(box: tuple[float, ...], share: float) -> None:
    frame = np.full((200, 200, 3), 200, np.uint8)
    values, crop = annotate(box, frame)
    assert values["truncation"] == pytest.approx(share, abs=1e-3)
    assert np.mean(crop == 0) == pytest.approx(share, abs=0.03)
    assert values["face_size"] == 100


def test_sharpness_falls_with_blur_and_brightness_is_the_mean(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    sharp, crop = annotate((20, 20, 120, 120), frame)
    soft, _ = annotate((20, 20, 120, 120), cv2.GaussianBlur(frame, (0, 0), 3))
    assert sharp["sharpness"] > 20 * soft["sharpness"]
    assert sharp["brightness"] == pytest.approx((crop @ [0.299, 0.587, 0.114]).mean(), abs=0.5)


def test_where_no_detector_looked_there_is_no_pose() -> None:
    values, _ = annotate((20, 20, 120, 120), np.zeros((200, 200, 3), np.uint8))
    assert [values[name] for name in ("yaw", "pitch", "roll")] == [None] * 3
