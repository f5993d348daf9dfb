"""Frames that belong together by their times or numbers."""

import numpy as np
import pytest

from facemill.masks import match_by_number, match_by_time


@pytest.mark.parametrize(
    ("real", "fake", "matched"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]),
        ([3, 5, 6, 9], [1, 5, 9, 12], [-1, 1, -1, 2]),
        ([0, 1, 2], [2], [-1, -1, 0]),
        ([0, 1, 2, 3], [100, 101, 102], [0, 1, 2, -1]),  # numbered otherwise: by position
        ([10, 20], [1, 2, 3], [0, 1]),
        ([0, 1], [], [-1, -1]),
    ],
)
def test_frames_of_one_number_belong_together(real: list[int], fake: list[int], matched: list[int]) -> None:
    found = match_by_number(np.array(real, np.int64), np.array(fake, np.int64))
    np.testing.assert_array_equal(found, matched)


def test_frames_are_matched_by_time() -> None:
    real = 7 + np.arange(25) / 25
    assert match_by_time(real, np.arange(30) / 30).tolist() == [round(index * 1.2 - 1e-6) for index in range(25)]
    assert match_by_time(real, np.delete(np.arange(25), range(8, 12)) / 25).tolist() == [
        *range(8), -1, -1, -1, -1, *range(8, 21)]  # fmt: skip
    assert match_by_time(real, np.arange(10) / 25).tolist() == [*range(10), *[-1] * 15]
    assert match_by_time(real, np.arange(5) / 5).tolist()[:8] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert match_by_time(np.arange(6.0), np.array([0, 1, 2.45, 3, 4, 5.55])).tolist() == [0, 1, 2, 3, 4, -1]
    nothing = match_by_time(real, np.zeros(0))
    assert (nothing.tolist(), nothing.dtype) == ([-1] * 25, np.int64)
    assert match_by_time(np.zeros(1), np.zeros(1)).tolist() == [0]
