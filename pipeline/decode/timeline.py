"""The frames of a file in display order, determined from its packets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

__all__ = ["Timeline", "measured_fps", "skipped_times", "varies"]

SHORTEST_GRID = 10
"""Fewest packets from which an even grid can be recognised."""
EVEN_SHARE = 0.9
"""Least share of steps on the grid for it to count as even."""
RARE = 0.05
"""Largest share of steps that skip packets for these packets to count as lost."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stream's frames, as far as its packets describe them.

    Attributes:
        pts: presentation time of every frame in display order, in units of `time_base`; None if unknown.
        time_base: seconds.
        by_pts: whether frames are identified by their pts. Otherwise (raw streams, old AVI, codecs with packets that
            show no frame) they are identified by counting the decoder's output.
        keyframes: indices of the frames at which decoding can start.
        before_keyframes: for each keyframe but the first, the last frame in display order that is decoded before it.
        disposable: indices of the frames that no other frame is predicted from.
        after_loss: indices of the frames whose packets follow missing packets; if not `by_pts`, the numbers of these
            packets in the file.
    """

    pts: tuple[int | None, ...]
    time_base: Fraction
    by_pts: bool
    keyframes: frozenset[int] = frozenset()
    before_keyframes: Mapping[int, int] = field(default_factory=dict)
    disposable: frozenset[int] = frozenset()
    after_loss: frozenset[int] = frozenset()

    def seconds(self, index: int, fps: float) -> float:
        """Presentation time of a frame in seconds; if the file has none, that at a constant `fps`."""
        pts = self.pts[index]
        if pts is not None:
            return pts * self.time_base.numerator / self.time_base.denominator  # rounded once, as a fraction would be
        return index / fps if fps else 0.0


def measured_fps(times: Sequence[int], time_base: Fraction) -> float:
    """Mean frames per second of frames shown at `times` (units of `time_base`, ascending); 0 for fewer than two."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return float((len(times) - 1) / ((times[-1] - times[0]) * time_base))


def varies(times: Sequence[int], time_base: Fraction) -> bool:
    """Whether frames shown at `times` (units of `time_base`, ascending) deviate from an even grid.

    Deviations of one unit of `time_base`, or of one millisecond (to which streaming software rounds), are allowed.
    """
    if len(times) < 3:
        return False
    since_start = np.array([time - times[0] for time in times], np.float64)
    even = np.linspace(0, since_start[-1], len(times))
    allowed = max(1.0, float(Fraction(1, 1000) / time_base))
    return bool(np.abs(since_start - even).max() > allowed * (1 + 1e-9))


def skipped_times(times: Sequence[int | None], time_base: Fraction) -> list[int]:
    """Positions in `times` (decoding times of all packets) before which packets are missing from an even grid.

    Empty if the grid is not even, or if it has so many gaps that the file was made that way.
    """
    known = [time for time in times if time is not None]
    if len(known) < len(times) or len(times) < SHORTEST_GRID:
        return []
    steps = np.diff(np.array(known, np.float64))
    usual = max(float(np.median(steps)), 1.0)
    allowed = max(1.0, float(Fraction(1, 1000) / time_base)) + usual * 0.05
    even = np.abs(steps - usual) <= allowed
    step = float(steps[even].mean()) if even.any() else usual
    skipped = (steps >= 1.5 * step) & (np.abs(steps - np.rint(steps / step) * step) <= allowed)
    if np.count_nonzero(even | skipped) < EVEN_SHARE * len(steps) or np.count_nonzero(skipped) > RARE * len(steps):
        return []
    return [int(position) + 1 for position in np.flatnonzero(skipped)]
