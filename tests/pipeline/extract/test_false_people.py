from pathlib import Path

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.pipeline.extract.false_people import drop_false_people, face_patch
from facemill.pipeline.extract.track import Track
from tests.composed.detections import detections
from tests.composed.people import Scene, backdrop, cast, stand


def track(number: int, frames: range, score: float = 0.99) -> Track:
    box = np.array([10, 10, 60, 60], np.float32)
    return Track(number, {i: Face(box, score, np.zeros((5, 2), np.float32)) for i in frames})


def test_blobs_and_doubtful_faces_are_dropped_with_their_reason() -> None:
    tracks = [track(0, range(32)), track(1, range(7, 8)), track(2, range(20), 0.91)]
    assert drop_false_people(tracks, 32, {}) == {1: "too_brief", 2: "low_score"}
    assert drop_false_people([track(0, range(1))], 1, {}) == {}, "of one sample, one is all"


@pytest.mark.parametrize("side", [45.0, 110.0])
def test_a_picture_of_a_person_is_told_from_a_person(media: Path, side: float) -> None:
    """Both are noisy and move, and their boxes are misplaced a little; only a living face moves in itself."""
    people = cast(media)
    living, picture = people[1], people[10]
    paths = [stand(150, 180, side, sway=0.2), stand(450, 180, side, sway=0.3)]
    scene = Scene([living, picture], paths, 200, backdrop(media, (360, 640)))
    rng = np.random.default_rng(0)
    tracks = {living.name: Track(0), picture.name: Track(1)}
    patches: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for index in range(0, 200, 12):
        image = np.clip(scene.frame(index) + rng.normal(0, 2, (360, 640, 3)), 0, 255).astype(np.uint8)
        for name, face in detections(scene, index, miss=0, false=0):
            assert name is not None
            tracks[name].faces[index] = face
            patches[tracks[name].track_id].append(face_patch(image, face))
    assert drop_false_people([*tracks.values()], 17, patches) == {1: "still_image"}
