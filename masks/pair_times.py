"""Matching the frames of two videos by their time stamps."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["frame_interval", "match_by_number", "match_by_time", "predict_frames"]


def match_by_time(real_times: NDArray[np.float64], fake_times: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each real frame, the fake frame nearest in time, relative to each video's own first frame.

    Args:
        real_times, fake_times: seconds, ascending, [N] and [M].

    Returns:
        int64 [N]; -1 where no fake frame lies within half a frame interval (of the slower video).
    """
    if not len(real_times) or not len(fake_times):
        return np.full(len(real_times), -1, np.int64)
    own, other = real_times - real_times[0], fake_times - fake_times[0]
    nearest = _nearest(other, own)
    half = max(frame_interval(own), frame_interval(other)) / 2
    matched = np.abs(other[nearest] - own) <= half * (1 + 1e-6) + 1e-6
    return np.where(matched, nearest, -1)


def match_by_number(real_numbers: NDArray[np.int64], fake_numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each real frame, the fake frame of the same number; if they share no number, the one at the same position.

    Args:
        real_numbers, fake_numbers: ascending, without repetition, [N] and [M]; gaps are allowed.

    Returns:
        int64 [N]; -1 where there is no such fake frame.
    """
    matched = np.full(len(real_numbers), -1, np.int64)
    _, there, here = np.intersect1d(real_numbers, fake_numbers, assume_unique=True, return_indices=True)
    if not len(there):
        there = here = np.arange(min(len(real_numbers), len(fake_numbers)))
    matched[there] = here
    return matched


def predict_frames(
    real_times: NDArray[np.float64], fake_times: NDArray[np.float64], late: float = 0.0
) -> NDArray[np.int64]:
    """Index of the real frame nearest in time to each fake frame, extrapolated past the end of the real video.

    Args:
        real_times, fake_times: seconds, ascending, [N] and [M].
        late: delay of the fake, seconds.

    Returns:
        int64 [M].
    """
    own, other = real_times - real_times[0], fake_times - fake_times[0] + late
    frame_time = frame_interval(own) or frame_interval(other) or 1.0
    beyond = np.rint(np.maximum(other - own[-1], 0) / frame_time).astype(np.int64)
    return np.asarray(_nearest(own, other) + beyond)


def _nearest(sorted_times: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest of `sorted_times` to each of `times`; the earlier one of two that are equally near."""
    if len(sorted_times) == 1:
        return np.zeros(len(times), np.int64)
    after = np.clip(np.searchsorted(sorted_times, times), 1, len(sorted_times) - 1)
    earlier = times - sorted_times[after - 1] <= sorted_times[after] - times + 1e-9
    return np.where(earlier, after - 1, after)


def frame_interval(times: NDArray[np.float64]) -> float:
    """Median time between two frames, seconds; 0 for fewer than two frames."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0
