from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.pipeline.tracking.follow import Follower
from facemill.pipeline.tracking.portraits import Portrait
from facemill.pipeline.tracking.track import Track, largest_person
from tests.composed.detections import detections
from tests.composed.people import Scene, backdrop, cast, crowd, stand, walk
from tests.composed.scores import TrackingScore, score_tracks

HALF = 0.5
WINDOW = 64
"""Sampled frames after which the tracks so far are settled."""


def follow(scene: Scene, frames: Sequence[int], step: int = 5) -> TrackingScore:
    """Follow a scene over sampled frames; in between every `step`-th frame can be looked at, at half its size."""
    shown: dict[int, int] = {}

    def detect(images: Sequence[np.ndarray]) -> list[list[Face]]:
        return [
            [replace(face, bbox=face.bbox * HALF, landmarks=face.landmarks * HALF) for _, face in found]
            for found in (detections(scene, shown[id(image)]) for image in images)
        ]

    follower, before = Follower(detect), frames[0]
    followed: list[list[tuple[str | None, Track]]] = []
    for index in frames:
        between = {i: scene.frame(i, HALF) for i in range(before + step, index, step)}
        shown = {id(image): i for i, image in between.items()}
        found = detections(scene, index)
        tracks = follower.sample(index, scene.frame(index), [face for _, face in found], between)
        followed.append([(name, track) for (name, _), track in zip(found, tracks, strict=True)])
        before = index
        if len(followed) % WINDOW == 0 or index == frames[-1]:
            follower.settle()
    linked = [[(name, track.track_id) for name, track in row] for row in followed]
    return score_tracks([list(scene.faces(index)) for index in frames], linked)


@pytest.mark.parametrize("stride", [5, 10, 25])
@pytest.mark.parametrize(
    ("people", "seed"),
    [(2, 2), (8, 408), *(pytest.param(n, n, marks=pytest.mark.heavy) for n in (6, 8))],
)
def test_nobody_is_taken_for_somebody_else(media: Path, people: int, seed: int, stride: int) -> None:
    """No track shows two people, and nobody goes on under another id, also where people hide each other for long."""
    score = follow(crowd(media, people, 200, seed), range(0, 200, stride))
    assert score.mixed == 0
    assert score.switches == 0
    assert score.idf1 > 0.97


def test_nobody_is_taken_for_somebody_else_where_every_frame_is_sampled(media: Path) -> None:
    score = follow(crowd(media, 8, 200, 8), range(40, 90))
    assert score.mixed == 0
    assert score.switches == 0


@pytest.mark.parametrize("again", [True, False])
def test_who_comes_back_after_long_is_known_again(media: Path, again: bool) -> None:
    """One leaves at the left; much later the same person, or another one, comes in at the right."""
    host, guest, other = cast(media)[1:4]
    leaving, coming = walk((200, 180, 70), (-40, 180, 70), 0, 40), walk((680, 150, 65), (400, 150, 65), 150, 190)
    people = [host, guest, guest if again else other]
    scene = Scene(people, [stand(320, 200, 80), leaving, coming], 200, backdrop(media, (360, 640)))
    follower = Follower(lambda images: [[] for _ in images])
    for index in range(0, 190, 6):
        follower.sample(index, scene.frame(index), [*scene.faces(index).values()])
    before = len(follower.tracks)
    follower.settle()
    assert (before, len(follower.tracks)) == (3, 2 if again else 3)


def test_what_was_settled_is_not_joined_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = []

    def joined_ids(tracks: Sequence[Track], last: int) -> dict[int, int]:
        settled.append(last)
        return {}

    monkeypatch.setattr("facemill.pipeline.tracking.follow.joined_ids", joined_ids)
    follower = Follower(lambda images: [])
    for index in (0, 7, 14):
        follower.sample(index, np.zeros((9, 9, 3), np.uint8), [])
        follower.settle()
    assert settled == [-1, 0, 7]


def test_people_are_joined_within_their_shot_only(media: Path) -> None:
    person = cast(media)[1]
    places = {0: stand(150, 180, 80), 1: stand(500, 180, 50), 2: stand(150, 180, 80)}  # too far to go on unseen
    tracks = []
    follower = Follower(lambda images: [[] for _ in images])
    for part, cuts in ((0, []), (1, []), (2, [40])):
        scene = Scene([person], [places[part]], 60, backdrop(media, (360, 640)))
        for index in range(20 * part, 20 * part + 20, 10):
            tracks += follower.sample(index, scene.frame(index), [*scene.faces(index).values()], cuts=cuts)
        if part != 1:
            follower.settle()
    assert [track.track_id for track in tracks] == [0, 0, 0, 0, 2, 2]


def test_no_track_crosses_a_cut(media: Path) -> None:
    first, second = cast(media)[1:3]
    shots = [Scene([person], [stand(300, 180, 80)], 60, backdrop(media, (360, 640))) for person in (first, second)]
    follower = Follower(lambda images: pytest.fail("one person alone is in no doubt"))
    ids = []
    for index in range(0, 60, 6):
        scene = shots[index >= 30]
        [track] = follower.sample(index, scene.frame(index), [*scene.faces(index).values()], cuts=[30])
        ids.append(track.track_id)
    assert ids == [0] * 5 + [1] * 5


@pytest.mark.parametrize(("distance", "same"), [(0.4, True), (0.6, False)])
def test_a_face_unlike_all_portraits_is_somebody_else(
    monkeypatch: pytest.MonkeyPatch, distance: float, same: bool
) -> None:
    """Position and descriptor would allow the link: the face decides."""
    images = {i: np.full((300, 400, 3), i, np.uint8) for i in (0, 10)}

    def portrait(image: np.ndarray, face: Face) -> Portrait:
        return Portrait(np.array([distance * (image[0, 0, 0] > 0), 0], np.float32))

    monkeypatch.setattr(Portrait, "of", portrait)
    monkeypatch.setattr("facemill.pipeline.tracking.follow.describe", lambda image, face: np.zeros((2, 4), np.float32))
    follower = Follower(lambda images: [])
    ids = []
    for index, x in ((0, 100), (10, 150)):
        face = Face(np.array([x, 100, x + 50, 150], np.float32), 0.99, np.full((5, 2), x, np.float32))
        ids += [track.track_id for track in follower.sample(index, images[index], [face])]
    assert ids == [0, 0 if same else 1]


@pytest.mark.parametrize(("distance", "near"), [(60, True), (300, False)])
def test_who_is_never_alone_has_a_fallback_portrait(distance: float, near: bool) -> None:
    follower = Follower(lambda images: [])
    for index in (0, 10):
        boxes = np.array([[x, 100, x + 50, 150] for x in (100, 100 + distance)], np.float32)
        points = np.array([[12, 15], [38, 15], [25, 28], [14, 40], [36, 40]], np.float32)
        faces = [Face(box, 0.99, points + box[:2]) for box in boxes]
        follower.sample(index, np.zeros((300, 500, 3), np.uint8), faces)
    for album in (track.album for track in follower.tracks):
        assert (album.fallback is not None, len(album.portraits)) == ((True, 0) if near else (False, 2))


def test_one_person_alone_needs_no_embedding(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facemill.pipeline.tracking.embedding.embed", lambda chips: pytest.fail("embedded"))
    scene = Scene([cast(media)[1]], [stand(320, 180, 80)], 100, backdrop(media, (360, 640)))
    follower = Follower(lambda images: [[] for _ in images])
    for index in range(0, 100, 5):
        follower.sample(index, scene.frame(index), [*scene.faces(index).values()])
    follower.settle()
    assert len(follower.tracks) == 1


def test_scores_by_hand() -> None:
    """Anna is 0, 0, 1 and Ben 1, missed, 1: one switch, a mixed track, one false alarm."""
    truth = [["anna", "ben"]] * 3
    linked: list[list[tuple[str | None, int]]] = [
        [("anna", 0), ("ben", 1)],
        [("anna", 0), (None, 7)],
        [("anna", 1), ("ben", 1)],
    ]
    score = score_tracks(truth, linked)
    assert (score.switches, score.mixed, score.id_hits) == (1, 1, 4)
    assert score.idf1 == pytest.approx(8 / 12)
    assert score.mota == pytest.approx(1 - (1 + 1 + 1) / 6)


@pytest.mark.parametrize("again", [True, False])
def test_the_largest_person_is_not_joined_with_somebody_of_another_shot(media: Path, again: bool) -> None:
    """Two shots of faces of one size: the same man at another place, or another one."""
    first, *others = cast(media)[1:4]
    places = stand(300, 180, 80), stand(200, 200, 75)
    for second in [first] if again else others:
        shots = [
            Scene([who], [at], 60, backdrop(media, (360, 640))) for who, at in zip((first, second), places, strict=True)
        ]
        follower = Follower(lambda images: [[] for _ in images])
        for index in range(0, 60, 6):
            scene = shots[index >= 30]
            follower.sample(index, scene.frame(index), [*scene.faces(index).values()], cuts=[30])
        assert len(largest_person(follower.tracks)) == 1 + again
