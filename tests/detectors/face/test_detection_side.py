from pathlib import Path

import numpy as np
import pytest
import torch

from facemill.detectors.face import create, detection_side
from facemill.detectors.face.mtcnn import MTCNN
from tests.composed.people import Scene, backdrop, cast, stand


def test_the_smallest_face_wanted_becomes_the_smallest_that_is_found() -> None:
    assert detection_side(1080, 1920, 40, 20) == 960
    assert detection_side(1920, 1080, 60, 20) == 640
    assert detection_side(360, 640, 16, 20) == 640, "frames are not enlarged"
    for min_face in (33.0, 47.0):
        assert 20 <= min_face * detection_side(1080, 1920, min_face, 20) / 1920 < 20.1


def test_a_fixed_size_comes_first_and_none_of_both_leaves_frames_alone() -> None:
    detector = MTCNN(device=torch.device("cpu"))
    assert detector._side(1080, 1920) is None
    detector.min_face = 40
    assert detector._side(1080, 1920) == 960
    detector.max_side = 500
    assert detector._side(1080, 1920) == 500


def test_small_faces_of_a_large_frame_are_found(media: Path) -> None:
    people = cast(media)[5:17]
    places = [stand(150 + 300 * (i % 6), 300 + 450 * (i // 6), 36 + 2.0 * i) for i in range(12)]
    frame = Scene(people, places, 1, backdrop(media, (1080, 1920)), (1080, 1920)).frame(0)
    full, shrunk, fixed = (
        len([face for face in create("mtcnn", device="cpu", **options).detect([frame])[0] if _side(face.bbox) >= 40])
        for options in ({}, {"min_face": 40.0}, {"max_side": 640})
    )
    assert shrunk >= 0.97 * full
    assert fixed < full


def _side(box: np.ndarray) -> float:
    return float(min(box[2:] - box[:2]))


@pytest.mark.parametrize("scale", [1, 2])
def test_what_min_face_asks_for_does_not_depend_on_the_frame(scale: int) -> None:
    """Twice the frame and twice the least face: the networks see the same."""
    assert detection_side(540 * scale, 960 * scale, 40 * scale, 20) == 480
