"""Sampling: which frames of a clip group are used, chosen once for the real video and all its fakes."""

import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.config.sections import SampleSettings
from facemill.seeded import seeded_hash

__all__ = ["expected_frames", "sample_frames"]

TYPICAL_LENGTH = 400
"""Assumed frames per video in planning, which opens no video."""


def sample_frames(settings: SampleSettings, length: int, *, seed: int, group_id: str) -> NDArray[np.int64]:
    """Indices of the frames to use out of `length`, ascending and unique.

    If a video has fewer frames than requested, all of them are used. `random` samples without replacement, seeded by
    the recipe's seed and the group's id: never by time or processing order. Of `runs`, the first begins with the video
    and the last ends with it; a single one lies in the middle.
    """
    if settings.strategy == "stride":
        return np.arange(0, length, settings.every, dtype=np.int64)
    if settings.frames is None or settings.frames >= length:
        return np.arange(length, dtype=np.int64)
    if settings.strategy == "random":
        generator = np.random.default_rng(seeded_hash(seed, group_id))
        return np.sort(generator.choice(length, settings.frames, replace=False)).astype(np.int64)
    if settings.runs is not None:
        size = settings.frames // settings.runs
        starts = np.linspace(0, length - size, settings.runs) if settings.runs > 1 else np.array([(length - size) / 2])
        return np.asarray(np.rint(starts)[:, None] + np.arange(size), np.int64).reshape(-1)
    return np.rint(np.linspace(0, length - 1, settings.frames)).astype(np.int64)


def expected_frames(settings: SampleSettings) -> int:
    """Frames sampled from a typical video; the planned size of shards depends on it."""
    if settings.frames is not None:
        return settings.frames
    return len(range(0, TYPICAL_LENGTH, settings.every or 1))
