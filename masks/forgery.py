"""Which faces are forged, and when: decided over the sampled frames of one track of a fake and its original.

A forgery differs from coding noise in three ways. Its signed difference does not cancel when smoothed at the face's
scale. It exceeds the noise of the same video outside the face, in cells of equal texture. And it persists over
neighbouring samples: the samples of a track form a few stretches, each forged or not.
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

FORGED_SCORE = 1.7
"""Score above which a face is forged, and its region drawn."""
UNDECIDED = (1.4, 2.6)
"""Between these scores, a faint forgery cannot be told from strong coding noise, so nothing is decided."""
FAINT = 4.75
"""Strength of a faint forgery in gray levels: a face is called unforged only if such a forgery would be detected."""

# Tuned on composed clips (whole faces, mouths, eyes; crf 0 to 40; faces of 30 to 240 pixels).
OTHER_MOMENT = 0.05  # maximum share of strongly different pixels outside the faces: more means another moment or video
DETECTABLE = 12.65  # gray levels: if only stronger forgeries are detectable, the result is unreliable
SMOOTH = 0.03 * FACE_CELLS  # sigma of the smoothing against coding noise
EYE = 0.08 * FACE_CELLS  # sigma of the smallest region that counts as a forgery
QUIET = 2.0  # minimum noise in gray levels: encoders leave none where the image does not change
CORE, FREE = 1.2, 1.75  # times the ellipse in the face's box: a forgery is sought within, and noise beyond
CHANGE = 0.7  # cost of an additional stretch, in squared log scores: it must differ strongly or last long
SAMPLES_AROUND = 3  # samples on either side over which differences outside the face are summed
MOSTLY = 0.25  # minimum share of coding noise in the difference outside the face: with less, the forgery extends there
STEP = 2  # every second cell is used, a finer step than `SMOOTH`

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaceForgery:
    """Result for one face in one frame of a fake.

    Attributes:
        forged: whether this face differs from the original by more than noise.
        decided: false if the score is between those of forgeries and of noise, or if noise would hide a faint forgery.
        score: largest luma difference at the scale of an eye, in units of the expected noise, averaged over the
            sample's stretch; the face is forged above `FORGED_SCORE`.
        reliable: false if the frames show different moments, or noise would hide a forgery: `forged` and `mask` are
            then not to be trusted.
        mask: uint8 [GRID, GRID], 255 in the forged region and 0 outside, whose outline is where it passes 127.5.
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
        """Bounding box of the forged region, xyxy in pixels of the frame; None if nothing is forged."""
        inside = (self.mask > 127).view(np.uint8)
        if not inside.any():
            return None
        left, top, width, height = cv2.boundingRect(inside)
        edges = np.array([[left, top, 1], [left + width, top + height, 1]]) - [0.5, 0.5, 0]
        return np.asarray((edges @ self.affine.T + 0.5).ravel())

    @property
    def coverage(self) -> float:
        """Area of the mask as a share of the area of a square on the longer side of the face's box."""
        return np.count_nonzero(self.mask > 127) / FACE_CELLS**2


def find_forgeries(track: Sequence[FaceDifference | None]) -> list[FaceForgery | None]:
    """Decide in which samples, and where, one face of a fake is forged.

    Args:
        track: measurements of one person in order; None where the person was not seen or a frame is missing.

    Returns:
        One result per measurement, None for None.
    """
    seen = np.array([index for index, one in enumerate(track) if one is not None], np.intp)
    measured = [one for one in track if one is not None]
    if not measured:
        return [None] * len(track)
    fields = np.stack([one.smooth() for one in measured])  # [T, GRID, GRID, 3]
    distances = np.stack([one.distance[::STEP, ::STEP] for one in measured])
    own = np.stack([one.own[::STEP, ::STEP] for one in measured])
    energy, coarse = (_luma_energy(fields, sigma) for sigma in (SMOOTH, EYE))
    core, free = own & (distances < CORE), own & (distances > FREE)
    table = NoiseTable(measured, STEP, free=free, otherwise=own & ~core, fine=energy, coarse=coarse)
    noise = table.expected(energy)
    # A moving face is encoded with more noise than its still surroundings.
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
    """Whether the difference outside the face, in each sample [T] and its neighbours, is mostly coding noise."""
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
    """Replace each value [T] by the mean of its stretch.

    The stretches minimise the sum of squared deviations from their means plus `CHANGE` per stretch (optimal
    partitioning; Jackson et al., 2005).
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
