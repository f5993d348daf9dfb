"""Frames that belong together by their times or numbers."""

import numpy as np
import pytest

from facemill.masks import match_by_number


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
