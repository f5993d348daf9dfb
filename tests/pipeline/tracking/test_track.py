import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.pipeline.tracking.track import Track, Tracker, box_iou, largest_person


def face(x: float, y: float, side: float = 50.0) -> Face:
    return Face(np.array([x, y, x + side, y + side], np.float32), 0.99, np.full((5, 2), x, np.float32))


def test_two_people_keep_their_ids_while_they_move_and_the_list_is_shuffled() -> None:
    tracker = Tracker()
    for index in range(0, 60, 10):
        left, right = face(100 + index * 2, 100), face(400 - index, 120)
        order = [left, right] if index % 20 else [right, left]
        tracker.update(index, order)
    assert len(tracker.tracks) == 2
    for track in tracker.tracks:
        xs = [found.bbox[0] for found in track.faces.values()]
        assert len(xs) == 6
        assert np.all(np.diff(xs) > 0) or np.all(np.diff(xs) < 0)


def test_crossing_people_are_told_apart_by_the_best_assignment() -> None:
    tracker = Tracker()
    first, second = tracker.update(0, [face(100, 100), face(140, 100)])
    again = tracker.update(1, [face(142, 100), face(102, 100)])  # the other assignment would be possible, too
    assert again == [second, first]


def test_a_short_absence_keeps_the_id_and_a_long_one_does_not() -> None:
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)])
    for index in range(1, 5):
        tracker.update(index, [])
    assert tracker.update(5, [face(105, 100)]) == [before]
    for index in range(6, 130):
        tracker.update(index, [])
    assert tracker.update(130, [face(105, 100)]) != [before]


def test_an_absence_is_long_only_by_samples_and_frames_together() -> None:
    """Lost is who was unseen for more than 8 samples and for more than 100 frames."""
    for step, missed, kept in ((20, 8, True), (20, 9, False), (10, 9, True), (10, 10, False), (300, 1, True)):
        tracker = Tracker()
        [before] = tracker.update(0, [face(100, 100)])
        for number in range(1, missed + 1):
            tracker.update(number * step, [])
        assert (tracker.update((missed + 1) * step, [face(100, 100)]) == [before]) == kept, (step, missed)


def test_who_comes_nearer_between_sparse_samples_keeps_the_id() -> None:
    tracker = Tracker()
    before = tracker.update(0, [face(100, 100, 50), face(400, 100, 50)])
    assert tracker.update(25, [face(60, 60, 130), face(400, 100, 50)]) == before
    tracker = Tracker()
    assert tracker.update(1, [face(60, 60, 130)]) != tracker.update(0, [face(100, 100, 50)])


@pytest.mark.parametrize(("moved", "kept"), [(70, True), (85, False)])
def test_who_moves_by_most_of_a_face_from_frame_to_frame_keeps_the_id(moved: float, kept: bool) -> None:
    """Sides of a face of 100 pixels: of a deviation of 0.27 sides, 0.70 cost 5.1 and 0.85 cost 7.0; the limit is 6."""
    tracker = Tracker()
    before = tracker.update(0, [face(100, 100, 100)])
    assert (tracker.update(1, [face(100 + moved, 100, 100)]) == before) == kept


def test_a_newcomer_does_not_shift_everybody_else() -> None:
    """One leaves at the left, another comes in at the right: a matching of all faces would move each by one seat."""
    tracker = Tracker()
    before = tracker.update(0, [face(x, 100) for x in (0, 150, 300, 450)])
    after = tracker.update(20, [face(x, 100) for x in (150, 300, 450, 600)])
    assert after[:3] == before[1:]
    assert after[3] not in before


def look(*values: float) -> np.ndarray:
    return np.array([values, values], np.float32)


def test_who_stands_where_somebody_else_stood_is_told_by_the_look() -> None:
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)], [look(1, 0)])
    assert tracker.update(10, [face(100, 100)], [look(0, 1)]) != [before]
    assert tracker.update(20, [face(140, 100)], [look(1, 0.1)]) == [before]


def test_places_exchanged_between_samples_are_told_by_the_looks() -> None:
    tracker = Tracker()
    first, second = tracker.update(0, [face(100, 100), face(250, 100)], [look(1, 0), look(0, 1)])
    assert tracker.update(25, [face(100, 100), face(250, 100)], [look(0, 1), look(1, 0)]) == [second, first]


def test_a_cut_ends_every_track() -> None:
    tracker = Tracker()
    before = tracker.update(0, [face(100, 100), face(300, 100)])
    tracker.cut()
    assert not set(map(id, tracker.update(1, [face(100, 100), face(300, 100)]))) & set(map(id, before))


def test_joined_tracks_are_one_person_from_then_on() -> None:
    tracker = Tracker()
    first, other = tracker.update(0, [face(100, 100), face(400, 100)], [look(1, 0), look(0, 1)])
    parted, _ = tracker.update(1, [face(100, 100), face(400, 100)], [look(0.5, 0.5), look(0, 1)])
    tracker.update(2, [face(400, 100)], [look(0, 1)])
    tracker.join({0: 0, 1: 1, 2: 0})
    assert parted.track_id == 0, "who holds the merged track learns its id"
    assert tracker.tracks == [first, other]
    assert list(first.faces) == [0, 1]
    assert len(first.looks) == 2
    again, newcomer = tracker.update(3, [face(100, 100), face(250, 100)], [look(0.5, 0.5), look(1, 1)])
    assert again is first
    assert newcomer.track_id == 3, "an id that was given up is not used again"
    two = tracker.update(4, [face(100, 100), face(105, 100)], [look(0.5, 0.5), look(1, 0)])
    assert two[0] is not two[1], "who was joined goes on once"


def test_faces_between_samples_are_followed_but_are_in_no_track() -> None:
    tracker = Tracker()
    [before] = tracker.update(0, [face(0, 100)])
    for index in range(1, 20):
        tracker.glance(index, [face(20 * index, 100)])
    assert tracker.update(20, [face(400, 100)]) == [before]
    assert list(before.faces) == [0, 20]
    tracker.glance(21, [face(400, 100), face(50, 300)])
    assert len(tracker.tracks) == 1


def test_frames_between_are_wanted_where_links_are_in_doubt_only() -> None:
    tracker = Tracker()
    assert not tracker.ambiguous(0, [face(100, 100)])
    tracker.update(0, [face(100, 100), face(500, 100)])
    assert not tracker.ambiguous(5, [face(102, 100), face(503, 100)])
    assert not tracker.ambiguous(5, [])
    assert tracker.ambiguous(5, [face(100, 100), face(140, 100)])  # who of them is who?
    assert tracker.ambiguous(5, [face(102, 100)])  # where did the other one go?


@pytest.mark.parametrize(("x", "asked"), [(102, False), (160, True)])
def test_only_links_that_are_not_certain_may_be_refuted(x: float, asked: bool) -> None:
    """A face that hardly moved is certain; one that moved by more than its width is compared."""
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)])
    tracker.ambiguous(10, [face(x, 100)])
    compared: list[tuple[Track, int]] = []

    def refutes(track: Track, index: int) -> bool:
        compared.append((track, index))
        return True

    after = tracker.update(10, [face(x, 100)], refutes=refutes)
    assert compared == ([(before, 0)] if asked else [])
    assert (after != [before]) == asked


def test_a_refuted_track_ends_and_the_others_go_on() -> None:
    tracker = Tracker()
    first, second = tracker.update(0, [face(100, 100), face(300, 100)])
    after = tracker.update(5, [face(100, 100), face(300, 100)], refutes=lambda track, index: track is first)
    assert after[0] not in (first, second)
    assert after[1] is second
    # The face was somebody else's, so that the track has no position from which to go on.
    assert tracker.update(6, [face(100, 100), face(108, 100)])[1] is not first


def test_a_face_elsewhere_or_of_another_size_is_somebody_else() -> None:
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)])
    assert tracker.update(1, [face(400, 100)]) != [before]
    assert tracker.update(2, [face(100, 100, side=150)]) != [before]


def test_a_walker_is_followed_through_sparse_samples() -> None:
    """At one sampled frame a second, boxes no longer overlap; the time between sightings allows for the way."""
    tracker = Tracker()
    for number in range(8):
        tracker.update(number * 25, [face(50 + number * 110, 100)])
    assert len(tracker.tracks) == 1


def test_the_longer_nobody_looked_the_more_alike_a_face_must_be() -> None:
    """Descriptors that differ by 0.4 are still one person's after 5 frames, not after 15."""
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)], [look(1, 0)])
    assert tracker.update(5, [face(100, 100)], [look(1, 0.4)]) == [before]
    tracker = Tracker()
    [before] = tracker.update(0, [face(100, 100)], [look(1, 0)])
    assert tracker.ambiguous(15, [face(100, 100)], [look(1, 0.4)])
    assert tracker.update(15, [face(100, 100)], [look(1, 0.4)]) != [before]


def test_the_largest_person_has_the_greatest_total_area() -> None:
    tracker = Tracker()
    for index in range(10):
        steady, *_ = tracker.update(index, [face(10, 10, 50), face(400, 50, 60)][: 2 if not index else 1])
    assert largest_person(tracker.tracks) == {steady.track_id}, "ten faces of 50 pixels, one of 60"
    assert largest_person([]) == set()


@pytest.mark.parametrize(
    ("side", "unlike", "overlap", "joined"),
    [(50, 0.2, 0, True), (30, 0.2, 0, False), (50, 0.5, 0, False), (50, 0.2, 1, False), (50, None, 0, False)],
)
def test_a_parted_person_is_joined_by_size_and_look(
    side: float, unlike: float | None, overlap: int, joined: bool
) -> None:
    """After a cut there is a face of the given size and look; `overlap`: frames in which both are seen."""
    first = Track(0, {i: face(10, 10, 60) for i in range(10)}, [look(1, 0)])
    second = Track(
        1, {i: face(10, 10, side) for i in range(10 - overlap, 15)}, [] if unlike is None else [look(1, unlike)]
    )
    assert largest_person([first, second]) == ({0, 1} if joined else {0})


def test_box_iou_by_counting_pixels() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 15, 20], [30, 30, 31, 31]], np.float64)
    canvas = np.zeros((3, 40, 40), bool)
    for layer, (x1, y1, x2, y2) in zip(canvas, boxes.astype(int), strict=True):
        layer[y1:y2, x1:x2] = True
    counted = [[(a & b).sum() / (a | b).sum() for b in canvas] for a in canvas]
    assert box_iou(boxes, boxes) == pytest.approx(np.array(counted))
