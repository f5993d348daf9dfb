"""The coding noise to expect of a pair, by texture, estimated from cells around a face that are not forged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facemill.masks.face_difference import FaceDifference

__all__ = ["NoiseTable", "noise_share"]

BINS = 8  # of texture, each with as many free cells
FEWEST = 50  # free cells of a bin
# Energy left by smoothing at the scale of an eye, as a share: coding noise, pair by pair, had up to 0.36; what was
# forged beyond the face, or shows another moment, from 0.5.
NOISE_COHERENCE, FORGED_COHERENCE = 0.36, 0.5
LEAST_NOISE = 0.5  # squared gray levels: less is rounding, whose coherence tells nothing


class NoiseTable:
    """Expected noise of every cell of a track, by its texture.

    Args:
        measured: the T measurements of a track.
        step: every which cell is looked at, along both sides.
        free: bool [T, g, g], cells outside the face.
        otherwise: taken for them where there are too few, as when a face fills the frame.
        fine, coarse: float32 [T, g, g], energy of the luma difference at two scales: where much of the one is left in
            the other, it is not all coding noise, and counts the less.
    """

    def __init__(
        self,
        measured: Sequence[FaceDifference],
        step: int,
        *,
        free: NDArray[np.bool_],
        otherwise: NDArray[np.bool_],
        fine: NDArray[np.float32],
        coarse: NDArray[np.float32],
    ) -> None:
        self.step = step
        self._texture = np.stack([one.texture[::step, ::step] for one in measured])  # [T, g, g]
        self._free = free if np.count_nonzero(free) >= FEWEST * BINS else otherwise
        textures = self._texture[self._free]
        if textures.size:
            edges = np.quantile(textures, np.linspace(0, 1, BINS + 1))[1:-1]
            self._bins = np.searchsorted(edges, textures)
            self._counts = np.maximum(np.bincount(self._bins, minlength=BINS), 1)
            self._centres = np.maximum.accumulate(np.bincount(self._bins, textures, BINS) / self._counts)
            both = [np.bincount(self._bins, energy[self._free], BINS) / self._counts for energy in (fine, coarse)]
            self._noise_share = noise_share(*both)

    def expected(self, energy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Expected noise energy of each cell [T, g, g], from the measured energy [T, g, g]; 0 if no cell is free."""
        values = energy[self._free]
        if not values.size:
            return np.zeros_like(energy)
        means = self._noise_share * np.bincount(self._bins, values, BINS) / self._counts
        rising = np.maximum.accumulate(means)  # noise does not fall with texture
        return np.interp(self._texture, self._centres, rising).astype(np.float32)


def noise_share(fine: NDArray[np.floating], coarse: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of coding noise in mean energies at two scales: 1 all, 0 none."""
    coherence = coarse / (fine + LEAST_NOISE)
    share = (FORGED_COHERENCE - coherence) / (FORGED_COHERENCE - NOISE_COHERENCE)
    return np.asarray(np.clip(share, 0, 1), np.float64)
