"""Statistics by which framing and labels are compared."""

import statistics

import numpy as np

from facemill.manifests.checks.framing import _medians


def test_the_median_of_each_video_is_the_lower_of_two(rng: np.random.Generator) -> None:
    unit = rng.permutation(np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6]))
    values = rng.normal(size=len(unit))
    expected = [statistics.median_low(values[unit == number]) for number in range(6)]
    assert _medians(values, unit).tolist() == expected
