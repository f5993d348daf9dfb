"""What every registered face detector, in every variant, keeps to."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import facemill.detectors.face
from facemill.detectors.face import Face, FaceDetector
from facemill.registry import FACE_DETECTORS

CASES = [(name, variant) for name, kind in FACE_DETECTORS.items() for variant in kind.variants or (None,)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(filter(None, case)))
def create(request) -> Callable[..., FaceDetector]:
    name, variant = request.param
    fixture = {"resnet50": "random_resnet50", "mobilenet0.25": "mobilenet_weights"}.get(variant)
    weights = request.getfixturevalue(fixture) if fixture else None
    max_side = 160 if variant == "resnet50" else None
    return lambda **options: facemill.detectors.face.create(
        name, **{"device": "cpu", "variant": variant, "weights": weights, "max_side": max_side, **options}
    )


@pytest.fixture(scope="module")
def detector(create) -> FaceDetector:
    return create()


@pytest.fixture(scope="module")
def portrait(media: Path) -> np.ndarray:
    return cv2.imread(str(media / "images" / "astronaut.png"))[80:240, 130:310, ::-1].copy()


def assert_same_faces(left: list[Face], right: list[Face], tolerance: float) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a.bbox, b.bbox, atol=tolerance)
        np.testing.assert_allclose(a.landmarks, b.landmarks, atol=tolerance)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_faces_have_the_agreed_form(detector, portrait):
    (faces,) = detector.detect([portrait])
    assert faces
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for face in faces:
        assert (face.bbox.shape, face.bbox.dtype) == ((4,), np.float32)
        assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
        assert isinstance(face.score, float)
        assert 0.9 <= face.score <= 1
        assert (face.bbox[2:] > face.bbox[:2]).all()


def test_a_frame_gives_the_same_faces_in_any_company(detector, portrait):
    noise = np.random.default_rng(0).integers(0, 256, portrait.shape, np.uint8)
    flat = np.full((90, 70, 3), 128, np.uint8)
    pixel = np.zeros((1, 1, 3), np.uint8)
    alone = detector.detect([portrait])[0]
    together = detector.detect([flat, portrait, pixel, noise, portrait[:, ::-1], portrait])
    assert len(together) == 6
    assert_same_faces(together[1], alone, 1 / 64)  # positions are rounded to such a part of a pixel
    assert_same_faces(together[5], alone, 1 / 64)


def test_results_do_not_depend_on_the_run(detector, portrait):
    assert_same_faces(detector.detect([portrait])[0], detector.detect([portrait])[0], 0)


def test_batches_do_not_change_the_result(create, portrait):
    frames = [portrait, portrait[::-1].copy(), portrait[:, ::-1].copy()]
    for small, large in zip(create(batch=1).detect(frames), create(batch=8).detect(frames), strict=True):
        assert_same_faces(small, large, 1 / 64)


def test_no_frames_give_no_lists(detector):
    assert detector.detect([]) == []
    assert detector.detect(np.empty((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (30, 2), (13, 17)])
def test_degenerate_frames_are_looked_at(detector, size):
    (faces,) = detector.detect([np.full((*size, 3), 90, np.uint8)])
    assert all(np.isfinite(face.bbox).all() and np.isfinite(face.landmarks).all() for face in faces)


def test_a_stack_of_frames_is_taken_as_it_is(detector, portrait):
    (listed, _), (stacked, _) = detector.detect([portrait, portrait]), detector.detect(np.stack([portrait, portrait]))
    assert_same_faces(listed, stacked, 0)


def test_fewer_faces_with_a_higher_score(create, portrait):
    """Above the score of the face that is seen, nothing is; below it, the face is."""
    [face, *_] = create(min_score=0.5).detect([portrait])[0]
    between = {True: face.score - 1e-3, False: min(face.score + 1e-3, 1.0)}
    for seen, min_score in between.items():
        assert bool(create(min_score=min_score).detect([portrait])[0]) == (seen or face.score == 1.0)


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)]
)
def test_anything_but_rgb_frames_is_refused(detector, frame):
    with pytest.raises(ValueError, match="uint8"):
        detector.detect([frame])
