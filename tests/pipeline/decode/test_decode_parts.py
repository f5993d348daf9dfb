"""The parts of a reader that can be tested without a video."""

from fractions import Fraction

import pytest

from facemill.pipeline.decode.damage.tracker import DamageTracker
from facemill.pipeline.decode.nal import is_disposable, length_size
from facemill.pipeline.decode.timeline import measured_fps, varies

DISPOSABLE, REFERENCE, KEY, SEI, PARAMETERS = 0x01, 0x41, 0x65, 0x06, 0x67


def units(*headers: int, size_bytes: int = 4) -> bytes:
    prefix = (3).to_bytes(size_bytes, "big") if size_bytes else b"\0\0\1"
    return b"".join(prefix + bytes([header, 0x9A, 0xBC]) for header in headers)


@pytest.mark.parametrize("size_bytes", [0, 2, 4])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((DISPOSABLE,), True),
        ((SEI, DISPOSABLE, DISPOSABLE), True),
        ((REFERENCE,), False),
        ((DISPOSABLE, REFERENCE), False),
        ((PARAMETERS, DISPOSABLE), False),
        ((KEY,), False),
        ((SEI,), False),
        ((), False),
    ],
)
def test_disposable_packets(headers: tuple[int, ...], expected: bool, size_bytes: int) -> None:
    assert is_disposable(units(*headers, size_bytes=size_bytes), size_bytes) is expected


def test_length_prefixes_are_read_from_avcc() -> None:
    assert length_size(bytes([1, 100, 0, 31, 0xFF])) == 4
    assert length_size(bytes([1, 100, 0, 31, 0xFD])) == 2
    assert length_size(b"\0\0\0\1\x67") == length_size(None) == 0


def verdicts(tracker: DamageTracker, order: list[int], bad: set[int], patience: int = 0) -> dict[int, bool]:
    result: dict[int, bool] = {}
    for index in order:
        tracker.sent(index)
        if index not in bad:
            tracker.arrived(index, clean=True)
    result.update(tracker.settle(patience))
    return result


def test_damage_lasts_until_the_next_keyframe() -> None:
    tracker = DamageTracker(keyframes={0, 5}, disposable=set())
    assert verdicts(tracker, list(range(8)), bad={2}) == {i: i < 2 or i >= 5 for i in range(8)}


def test_damage_in_a_disposable_frame_stays_there() -> None:
    tracker = DamageTracker(keyframes={0}, disposable={2})
    assert verdicts(tracker, [0, 1, 3, 2, 4], bad={2}) == {0: True, 1: True, 3: True, 2: False, 4: True}


def test_frames_before_an_open_keyframe_lean_on_both_groups() -> None:
    # Decode order: key 0, P 1 (damaged), key 4 with its leading B frames 2 and 3, P 5.
    tracker = DamageTracker(keyframes={0, 4}, disposable={2, 3})
    order = [0, 1, 4, 2, 3, 5]
    assert verdicts(tracker, order, bad={1}) == {0: True, 1: False, 4: True, 2: False, 3: False, 5: True}


def test_a_flagged_frame_is_not_clean() -> None:
    tracker = DamageTracker(keyframes={0}, disposable=set())
    tracker.sent(0)
    tracker.arrived(0, clean=False)
    assert list(tracker.settle(9)) == [(0, False)]


def test_a_frame_is_waited_for_until_patience_ends() -> None:
    tracker = DamageTracker(keyframes={0}, disposable=set())
    for index in range(3):
        tracker.sent(index)
    tracker.arrived(1, clean=True)
    assert list(tracker.settle(3)) == []
    tracker.arrived(0, clean=True)
    assert list(tracker.settle(3)) == [(0, True), (1, True)]
    assert list(tracker.settle(0)) == [(2, False)]


def test_frame_rate() -> None:
    ntsc = Fraction(1001, 30000)
    assert measured_fps(range(50), ntsc) == pytest.approx(29.97, abs=1e-3)
    assert measured_fps([7], ntsc) == 0
    rounded = [round(index * ntsc * 1000) for index in range(50)]
    assert not varies(range(50), ntsc)
    assert not varies(rounded, Fraction(1, 1000))
    assert varies([*rounded, rounded[-1] + 100], Fraction(1, 1000))
    assert varies([0, 1, 2, 4], ntsc) is False  # within one tick of an even grid
    assert varies([0, 1, 2, 3, 4, 5, 6, 10], ntsc)
    assert not varies([2**33 + 3003 * index for index in range(90)], Fraction(1, 90000))
