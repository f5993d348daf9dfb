from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.pipeline.config.sections import TrackSettings
from facemill.pipeline.tracking.false_tracks import face_patch, find_false_tracks
from facemill.pipeline.tracking.track import Track
from tests.composed.detections import detections
from tests.composed.people import Scene, backdrop, cast, stand


def track(number: int, frames: range, score: float = 0.99) -> Track:
    box = np.array([10, 10, 60, 60], np.float32)
    return Track(number, {i: Face(box, score, np.zeros((5, 2), np.float32)) for i in frames})


def test_blobs_and_doubtful_faces_are_dropped_with_their_reason() -> None:
    tracks = [track(0, range(32)), track(1, range(7, 8)), track(2, range(20), 0.91)]
    assert find_false_tracks(tracks, dict.fromkeys(range(3), 32), {}, TrackSettings()) == {
        1: Reason.TOO_BRIEF,
        2: Reason.LOW_SCORE,
    }
    assert find_false_tracks(tracks, {0: 32, 1: 5, 2: 20}, {}, TrackSettings(min_mean_score=0.9)) == {}, (
        "one of the five samples of its shot is no blob"
    )


def test_where_nobody_moves_nobody_is_a_picture() -> None:
    patches = {number: [np.full((40, 40), 90, np.uint8)] * 8 for number in (0, 1)}
    tracks = [track(0, range(8)), track(1, range(8))]
    assert find_false_tracks(tracks, {0: 8, 1: 8}, patches, TrackSettings()) == {}


@pytest.mark.parametrize(("frames", "still"), [(60, False), (90, True)])
def test_who_holds_still_for_two_seconds_is_no_picture(frames: int, still: bool) -> None:
    """Compressed video repeats what hardly changes, so that somebody who listens is one image for a while."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 255, (40, 40)).astype(np.uint8), (0, 0), 3)
    moving = [np.roll(image, 5 * (number % 2), axis=0)[::-1] if number % 3 else image for number in range(frames)]
    patches = {0: [image] * frames, 1: moving}
    dropped = find_false_tracks(
        [track(0, range(frames)), track(1, range(frames))], {0: frames, 1: frames}, patches, TrackSettings()
    )
    assert dropped == ({0: Reason.STILL_IMAGE} if still else {})


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
    both = [*tracks.values()]
    assert find_false_tracks(both, {0: 17, 1: 17}, patches, TrackSettings()) == {1: Reason.STILL_IMAGE}
    assert find_false_tracks(both, {0: 17, 1: 17}, patches, TrackSettings(drop_still=False)) == {}
