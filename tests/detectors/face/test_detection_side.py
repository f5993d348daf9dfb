from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facemill.detectors.face import Face, create, detection_side
from facemill.detectors.face.mtcnn import MTCNN
from tests.composed.people import small_faces

pytestmark = pytest.mark.heavy


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


@pytest.mark.parametrize(("name", "min_face"), [("mtcnn", 24.0), ("mobilenet_weights", 32.0)])
def test_small_faces_of_a_large_frame_are_found(
    media: Path, request: pytest.FixtureRequest, name: str, min_face: float
) -> None:
    """Of the faces that the filter would keep, all but a few of those of the full-resolution search are found."""
    options: dict[str, Any] = {"name": "mtcnn"}
    if name != "mtcnn":
        weights = str(request.getfixturevalue(name))
        options = {"name": "retinaface", "variant": "mobilenet0.25", "weights": weights}
    frames = [small_faces(media, seed, min_face - 2, 45) for seed in range(3)]
    full, shrunk, fixed = (
        create(device="cpu", **options, **limit).detect(frames)
        for limit in ({}, {"min_face": min_face}, {"max_side": 640})
    )
    wanted = [[face for face in found if min(face.bbox[2:] - face.bbox[:2]) >= min_face] for found in full]
    total = sum(map(len, wanted))
    assert total > 30
    assert _found(wanted, shrunk) >= 0.97 * total
    assert _found(wanted, fixed) < 0.97 * total


def _found(wanted: list[list[Face]], found: list[list[Face]]) -> int:
    """How many faces are found again: with a nose within a quarter of the face's width."""
    return sum(
        any(np.abs(one.landmarks[2] - face.landmarks[2]).max() < 0.25 * (face.bbox[2] - face.bbox[0]) for one in there)
        for faces, there in zip(wanted, found, strict=True)
        for face in faces
    )


@pytest.mark.parametrize("scale", [1, 2])
def test_what_min_face_asks_for_does_not_depend_on_the_frame(scale: int) -> None:
    """Twice the frame and twice the least face: the networks see the same."""
    assert detection_side(540 * scale, 960 * scale, 40 * scale, 20) == 480
