"""The frames of a file, in display order, known before any of them is decoded for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

__all__ = ["Timeline", "measured_fps", "varies"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the packets of a stream say about its frames.

    Attributes:
        pts: presentation time of every frame in display order, in units of `time_base`; None where
            the file does not say.
        time_base: seconds.
        by_pts: whether each frame is told by its own pts. Otherwise (raw streams, old AVI, codecs with
            packets that show nothing) it is told by counting what comes out of the decoder.
        keyframes: indices of the frames at which decoding can start.
        disposable: indices of the frames that no other is predicted from.
    """

    pts: tuple[int | None, ...]
    time_base: Fraction
    by_pts: bool
    keyframes: frozenset[int] = frozenset()
    disposable: frozenset[int] = frozenset()

    def seconds(self, index: int, fps: float) -> float:
        """Presentation time of a frame; where the file does not say, as at a constant `fps`."""
        pts = self.pts[index]
        if pts is not None:
            return float(pts * self.time_base)
        return index / fps if fps else 0.0


def measured_fps(times: Sequence[int], time_base: Fraction) -> float:
    """Mean frames per second of frames shown at `times` (units of `time_base`, ascending); 0 for fewer than two."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return float((len(times) - 1) / ((times[-1] - times[0]) * time_base))


def varies(times: Sequence[int], time_base: Fraction) -> bool:
    """Whether frames shown at `times` (units of `time_base`, ascending) stray from an even grid.

    They may stray by one tick of the file's clock, and by the millisecond to which streaming software rounds.
    """
    if len(times) < 3:
        return False
    since_start = np.array([time - times[0] for time in times], np.float64)
    even = np.linspace(0, since_start[-1], len(times))
    allowed = max(1.0, float(Fraction(1, 1000) / time_base))
    return bool(np.abs(since_start - even).max() > allowed * (1 + 1e-9))
