"""Who is forged, and when: decided over the sampled frames of one track of a fake and its original.

A forgery differs from coding noise in three ways that are used here: its signed difference does not cancel when it is
smoothed at the face's scale; it is larger than the noise that the same clip shows outside the face at cells of equal
texture; and neighbouring samples have it too: the samples of a track fall into a few stretches, each forged or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.masks.difference_noise import NoiseTable, noise_share
from facemill.masks.face_difference import FACE_CELLS, FINE, FaceDifference
from facemill.masks.forged_region import draw_regions

__all__ = ["FORGED_SCORE", "FaceForgery", "find_forgeries"]

FORGED_SCORE = 2.15
"""A face is forged where its score is above this."""
UNDECIDED = (1.4, 2.6)
"""Between these scores faint forgeries and strong coding noise are met: nothing is decided there."""
FAINT = 6.0
"""Gray levels of a faint forgery: a face where it would go unnoticed is not found to be unforged."""

# Chosen on composed clips (whole faces, mouths, eyes; crf 0 to 40; faces of 30 to 240 pixels).
OTHER_MOMENT = 0.05  # share of pixels outside the faces that differ much: more is another moment, or another clip
DETECTABLE = 16.0  # gray levels: where a forgery must be stronger than this to be seen, nothing is known
SMOOTH = 0.03 * FACE_CELLS  # sigma that coding noise is smoothed by
EYE = 0.08 * FACE_CELLS  # sigma of the smallest region that counts as a forgery
QUIET = 2.0  # gray levels: noise never counts as less; where the picture stands still, encoders leave none
CORE, FREE = 1.2, 1.75  # of the ellipse in the face's box: where a forgery is sought, and beyond which is only noise
CHANGE = 0.7  # price of a further stretch, in squared logarithms of scores: one must differ by much, or for long
SAMPLES_AROUND = 3  # on either side: what differs beyond the face is summed over them
MOSTLY = 0.25  # share of coding noise in what differs beyond the face: with less, the forgery does not end there
STEP = 2  # every second cell is looked at: less than `SMOOTH`

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaceForgery:
    """What is known of one face in one frame of a fake.

    Attributes:
        forged: whether this face differs from the original by more than noise.
        decided: false where the score lies between those of forgeries and of noise, or the noise would hide a faint
            forgery.
        score: greatest luma difference at the scale of an eye, in units of the noise expected there, averaged over the
            samples around that are alike in it; the face is forged above `FORGED_SCORE`.
        reliable: false where another moment was compared, or noise would hide a forgery: `forged` and `mask` then mean
            little.
        mask: uint8 [GRID, GRID] of 0 and 255, all 0 where nothing is forged.
        affine: [2, 3], from cells of `mask` to pixels of the frame, both counted from the centre of the first.
    """

    forged: bool
    decided: bool
    score: float
    reliable: bool
    mask: Mask
    affine: NDArray[np.float64]

    def warp(self, affine: NDArray[np.floating], size: int) -> Mask:
        """The mask in a crop: uint8 [size, size] of 0 and 255.

        Args:
            affine: [2, 3], from pixels of the frame to pixels of the crop.
            size: side of the crop, pixels.
        """
        matrix = np.asarray(affine, np.float64) @ np.vstack([self.affine, [0, 0, 1]])
        soft = cv2.warpAffine(self.mask, matrix, (size, size), flags=cv2.INTER_LINEAR)
        return np.asarray(cv2.threshold(soft, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)

    def box(self) -> NDArray[np.float64] | None:
        """The forged region's bounds, xyxy in pixels of the frame; None where nothing is forged."""
        if not self.mask.any():
            return None
        left, top, width, height = cv2.boundingRect(self.mask)
        edges = np.array([[left, top, 1], [left + width, top + height, 1]]) - [0.5, 0.5, 0]
        return np.asarray((edges @ self.affine.T + 0.5).ravel())

    @property
    def coverage(self) -> float:
        """Area of the mask as a share of the area of a square on the longer side of the face's box."""
        return np.count_nonzero(self.mask) / FACE_CELLS**2


def find_forgeries(track: Sequence[FaceDifference | None]) -> list[FaceForgery | None]:
    """Decide for one face of a fake, over the sampled frames in order, where and when it is forged.

    Args:
        track: measurements of one person; None where the person was not seen or a frame is missing.

    Returns:
        One verdict for each measurement, None for None.
    """
    seen = np.array([index for index, one in enumerate(track) if one is not None], np.intp)
    measured = [one for one in track if one is not None]
    if not measured:
        return [None] * len(track)
    fields = np.stack([one.smooth() for one in measured])  # [T, GRID, GRID, 3]
    distances = np.stack([one.distance(STEP) for one in measured])
    own = np.stack([one.own[::STEP, ::STEP] for one in measured])
    energy, coarse = (_luma_energy(fields, sigma) for sigma in (SMOOTH, EYE))
    core, free = own & (distances < CORE), own & (distances > FREE)
    table = NoiseTable(measured, STEP, free=free, otherwise=own & ~core, fine=energy, coarse=coarse)
    noise = table.expected(energy)
    # A face moves in itself, which costs an encoder more than what stands still about it.
    noise += np.float32(QUIET**2 + (noise.mean(where=free) if free.any() else 0))
    scores = _scores(energy / noise, core)
    forged = scores > FORGED_SCORE
    regions = draw_regions(measured, fields, forged, table)
    limits = FORGED_SCORE * np.sqrt(
        [one[inside].mean() if inside.any() else 0 for one, inside in zip(noise, core, strict=True)]
    )
    decided = (scores > UNDECIDED[1]) | ((scores <= UNDECIDED[0]) & (limits <= FAINT))
    confined = _confined(energy, coarse, free, seen)
    verdicts: list[FaceForgery | None] = [None] * len(track)
    for position, (index, one) in enumerate(zip(seen, measured, strict=True)):
        verdicts[index] = FaceForgery(
            forged=bool(forged[position]),
            decided=bool(decided[position]),
            score=float(scores[position]),
            reliable=bool(one.outside_share <= OTHER_MOMENT and limits[position] <= DETECTABLE and confined[position]),
            mask=regions[position],
            affine=one.affine,
        )
    return verdicts


def _luma_energy(fields: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Square of the signed luma difference [T, g, g], every second cell, smoothed by `sigma` cells in all."""
    rest = (sigma**2 - FINE**2) ** 0.5 / STEP
    lumas = np.ascontiguousarray(fields[:, ::STEP, ::STEP, 0])
    smooth = np.stack([cv2.GaussianBlur(luma, (0, 0), rest) for luma in lumas])
    return np.asarray(np.square(smooth), np.float32)


def _confined(
    energy: NDArray[np.float32], coarse: NDArray[np.float32], free: NDArray[np.bool_], seen: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether what differs beyond the face, in each sample [T] and those around it, is mostly coding noise."""
    near = np.abs(seen[:, None] - seen[None]) <= SAMPLES_AROUND  # [T, T]
    cells = np.maximum(near @ free.sum(axis=(1, 2)), 1)
    sums = [near @ np.sum(one, axis=(1, 2), where=free, dtype=np.float64) for one in (energy, coarse)]
    return np.asarray(noise_share(*(total / cells for total in sums)) >= MOSTLY)


def _scores(ratio: NDArray[np.float32], core: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Score [T] of each sample from energies in units of the noise [T, g, g]."""
    peaks = [
        cv2.GaussianBlur(one, (0, 0), EYE / STEP)[inside].max(initial=0)
        for one, inside in zip(ratio, core, strict=True)
    ]
    return np.exp(_stretch_means(np.log(np.maximum(np.sqrt(peaks), 0.05))))


def _stretch_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value [T] the mean of the stretch it lies in.

    Of all ways to part the values into stretches it is the one with the least sum of squares about the stretches'
    means, where each stretch costs `CHANGE` (optimal partitioning).
    """
    sums, squares = (np.concatenate([[0.0], np.cumsum(power)]) for power in (values, values**2))
    cost, begin = np.zeros(len(values) + 1), np.zeros(len(values) + 1, np.intp)
    for end in range(1, len(values) + 1):
        lengths = np.arange(end, 0, -1)
        about = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / lengths
        total = cost[:end] + about + CHANGE
        begin[end], cost[end] = total.argmin(), total.min()
    means = np.empty_like(values)
    end = len(values)
    while end:
        start = int(begin[end])
        means[start:end] = values[start:end].mean()
        end = start
    return means
