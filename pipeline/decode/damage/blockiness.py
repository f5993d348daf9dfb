"""Finds frames that may be damaged by their content, at a small cost: blocks of other content, or a sudden change."""

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.decoded_frame import first_plane

__all__ = ["Blockiness"]

GRID = 8
"""Rows between the edges of blocks."""
RECENT = 48
"""Frames that a frame is compared with."""
MORE_BLOCKS, MORE_CHANGE = 1.25, 1.5
"""Multiple of the largest recent value at which a frame is conspicuous."""
FEWEST = 2
"""Frames without which there is nothing to compare with."""
LEAST = 0.3
"""Gray levels; smaller values count as this much."""


class Blockiness:
    """Compares each frame of a stream, in display order, with those before it."""

    def __init__(self) -> None:
        self._edges: deque[float] = deque(maxlen=RECENT)
        self._changes: deque[float] = deque(maxlen=RECENT)
        self._rows: NDArray[Any] | None = None

    def look_at(self, frame: Any) -> tuple[bool, bool]:
        """Whether a frame has more visible edges of blocks, and more change, than recent frames.

        Args:
            frame: the next `av.VideoFrame` of a planar layout.
        """
        luma, unit = _luma(frame)
        rows = luma[GRID // 2 :: GRID]
        edges = (
            _difference(luma[GRID - 1 :: GRID], luma[GRID::GRID]) - _difference(luma[GRID // 2 - 1 :: GRID], rows)
        ) / unit
        if self._rows is None or self._rows.shape != rows.shape:
            self._rows = rows.copy()
            return False, False
        changes = _difference(rows, self._rows) / unit
        self._rows[:] = rows
        exceeds = _exceeds(edges, self._edges, MORE_BLOCKS), _exceeds(changes, self._changes, MORE_CHANGE)
        self._edges.append(edges)
        self._changes.append(changes)
        return exceeds


def _exceeds(value: float, recent: deque[float], times: float) -> bool:
    if len(recent) < FEWEST:
        return False
    largest = max(recent)
    return value > largest + (times - 1) * max(abs(largest), LEAST)


def _luma(frame: Any) -> tuple[NDArray[Any], float]:
    """View of the first plane [H, W], and its value of one gray level."""
    bits = frame.format.components[0].bits
    plane = first_plane(frame)
    return (plane, 1.0) if bits == 8 else (plane.view(np.uint16), 2.0 ** (bits - 8))


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean absolute difference of the rows that both have."""
    count = min(len(one), len(other))
    return cv2.norm(one[:count], other[:count], cv2.NORM_L1) / max(1, one[:count].size)
