from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.pipeline.tracking.portraits import Album, Portrait
from facemill.pipeline.tracking.rejoin import joined_ids
from facemill.pipeline.tracking.track import Track

ANNA, BEN = (1.0, 0.0), (0.0, 1.0)


def track(number: int, frames: Iterable[int], *looks: tuple[float, float]) -> Track:
    """Descriptors of one track differ from `looks` by a little, so that no two are equal."""
    face = Face(np.array([10, 10, 60, 60], np.float32), 0.99, np.zeros((5, 2), np.float32))
    rng = np.random.default_rng(number)
    seen = [np.array([look, look]) + rng.normal(0, 0.002, (2, 2)) for look in looks]
    return Track(number, dict.fromkeys(frames, face), [look.astype(np.float32) for look in seen])


def groups(ids: Mapping[int, int]) -> set[frozenset[int]]:
    return {frozenset(old for old, new in ids.items() if new == lowest) for lowest in ids.values()}


def test_who_comes_back_has_the_first_id_again() -> None:
    tracks = [
        track(0, range(9), ANNA),
        track(1, range(9), BEN),
        track(2, range(20, 30), BEN),
        track(3, range(40, 50), ANNA),
    ]
    assert joined_ids(tracks) == {0: 0, 1: 1, 2: 1, 3: 0}
    assert joined_ids([]) == {}
    assert joined_ids(tracks[1:2]) == {1: 1}


def test_two_people_in_one_frame_are_never_one() -> None:
    twins = [track(0, range(10), ANNA), track(1, range(9, 20), ANNA)]
    twins[1].looks = twins[0].looks
    assert joined_ids(twins) == {0: 0, 1: 1}
    # Nor by way of a third track, which might be either's.
    assert len(groups(joined_ids([*twins, track(2, range(30, 40), ANNA)]))) >= 2


@pytest.mark.parametrize(("difference", "joined"), [(0.25, True), (0.5, False)])
def test_who_looks_otherwise_is_somebody_else(difference: float, joined: bool) -> None:
    """The difference of two descriptors is that of both halves, here of one value each."""
    tracks = [track(0, range(9), ANNA), track(1, range(20, 30), (1.0, difference))]
    assert joined_ids(tracks)[1] == (0 if joined else 1)


def test_who_looks_as_much_like_a_stranger_is_not_joined() -> None:
    """Anna and Ben are seen together and look alike: the third track may be Anna, Ben, or somebody else."""
    anna, ben = track(0, range(10), (1.0, 0.0)), track(1, range(10), (1.0, 0.2))
    assert joined_ids([anna, ben, track(2, range(20, 30), (1.0, 0.1))]) == {0: 0, 1: 1, 2: 2}
    assert joined_ids([anna, ben, track(2, range(20, 30), (1.0, 0.0))]) == {0: 0, 1: 1, 2: 0}


def test_a_whole_track_counts_not_one_frame() -> None:
    turned = (0.4, 0.8)
    tracks = [track(0, range(9), ANNA, turned, BEN), track(1, range(20, 30), ANNA, turned, BEN)]
    assert joined_ids(tracks) == {0: 0, 1: 0}
    assert joined_ids([tracks[0], track(1, range(20, 30), ANNA, *[(-0.7, -0.7)] * 8)]) == {0: 0, 1: 1}


def test_ids_in_use_are_not_joined_but_are_taken_up() -> None:
    """Samples up to frame 25 have been handed out."""
    tracks = [track(0, range(9), ANNA), track(1, range(20, 30), ANNA), track(2, range(40, 50), ANNA)]
    assert joined_ids(tracks, settled=25)[1] == 1
    assert joined_ids(tracks, settled=25)[2] in (0, 1)


def test_a_track_without_descriptors_stays_alone() -> None:
    assert joined_ids([track(0, range(9)), track(1, range(20, 30))]) == {0: 0, 1: 1}


def portraits(x: float) -> Album:
    return Album([Portrait(np.array([x, 0.0], np.float32))])


@pytest.mark.parametrize(
    ("descriptors", "embeddings", "joined"), [(0.3, 0.4, True), (0.3, 0.7, False), (0.6, 0.3, True), (0.9, 0.3, False)]
)
def test_faces_weigh_more_than_surroundings(descriptors: float, embeddings: float, joined: bool) -> None:
    """People in like clothes are told apart by their faces; a person in another light is known by theirs."""
    tracks = [track(0, range(9), ANNA), track(1, range(20, 30), (1.0, descriptors))]
    tracks[0].album, tracks[1].album = portraits(0), portraits(embeddings)
    assert joined_ids(tracks)[1] == (0 if joined else 1)


@pytest.mark.parametrize(("portrait", "joined"), [(None, True), (0.7, False)])
def test_who_was_never_alone_is_known_by_a_fallback_portrait(portrait: float | None, joined: bool) -> None:
    """By descriptors alone, the tracks would not be joined."""
    tracks = [track(0, range(9), ANNA), track(1, range(20, 22), (1.0, 0.5))]
    assert joined_ids(tracks)[1] == 1
    tracks[0].album, tracks[1].album = portraits(0), Album() if portrait is None else portraits(portrait)
    tracks[1].album.fallback = portraits(0.2).portraits[0]
    assert joined_ids(tracks)[1] == (0 if joined else 1)


def test_no_face_is_embedded_where_nobody_can_be_joined() -> None:
    """Two people of one frame, and two tracks whose ids are final."""

    class Untouched(Portrait):
        @property
        def embedding(self) -> np.ndarray:
            pytest.fail("embedded")

    chip = np.zeros((150, 150, 3), np.uint8)
    for frames, settled in ((range(9), -1), (range(20, 30), 40)):
        tracks = [track(0, range(9), ANNA), track(1, frames, ANNA)]
        for one in tracks:
            one.album = Album([Untouched(chip)])
        assert joined_ids(tracks, settled) == {0: 0, 1: 1}
