"""The region of a face that was forged: one smooth shape, or a few, for each sample of a track."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.masks.difference_noise import NoiseTable
from facemill.masks.face_difference import FACE_CELLS, GRID, FaceDifference

__all__ = ["draw_regions"]

# Lengths are shares of the face's longer side; chosen on the composed clips of `find_forgeries`.
SMOOTH_QUIET, SMOOTH_NOISY = 0.019 * FACE_CELLS, 0.03 * FACE_CELLS  # sigma that noise is smoothed by
NOISY = 1.3  # gray levels of noise, root mean square: more is smoothed more
CHROMA = 0.5  # weight of the chroma differences' energy
QUIET = (
    2.5,
    0.7,
    1.5,
)  # noise inside the face never counts as less than so much of that about it, gray levels at least
# and at most: encoders leave none where the picture stands still
NOISE_CUT = 2.3  # noise levels: the least magnitude of a forged cell
EDGE = 0.3  # of the region's magnitude nearby: where its edge is drawn
NEARBY = 0.1 * FACE_CELLS  # radius that the region's magnitude is looked for in
BRIGHTEST = 0.95  # quantile of the magnitudes inside: spots above it do not raise the edge around them
SEED = 1.3  # of the cut: every part has a cell above this
CLOSE = 0.047 * FACE_CELLS  # radius
OPEN = 0.2  # of the radius of a disk as large as the part: thinner appendices go
SMALLEST_PART = 0.25  # of the largest
ROUND = 0.023 * FACE_CELLS  # sigma that the outline is smoothed by
REACH = 1.6  # of the ellipse in the face's box: how far a region goes
ENERGY_SUPPORT = (1.0, 0.8, 0.6, 0.4)  # weight of samples at a distance of 0, 1, ...
SHAPE_SUPPORT = (1.0, 0.8, 0.5, 0.3)
LUMA_CHROMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)  # ITU-R BT.601

Field = NDArray[np.float32]  # [GRID, GRID]
Mask = NDArray[np.uint8]  # [GRID, GRID] of 0 and 255


def draw_regions(
    measured: Sequence[FaceDifference], seen: NDArray[np.intp], forged: NDArray[np.bool_], table: NoiseTable
) -> list[Mask]:
    """Draw the forged region of each sample that is forged.

    Args:
        measured: the T measurements of a track.
        seen: [T], which sample of the track each is.
        forged: [T], whether it is forged; the regions of the others are empty.
        table: knows what noise to expect.

    Returns:
        T masks, uint8 [GRID, GRID] of 0 and 255.
    """
    masks = [np.zeros((GRID, GRID), np.uint8) for _ in measured]
    chosen = np.flatnonzero(forged)
    if not len(chosen):
        return masks
    energy, noise = _energies(measured, table, SMOOTH_QUIET)
    level = float(np.sqrt(noise.mean()))
    if level > NOISY:
        energy, noise = _energies(measured, table, SMOOTH_NOISY)
    factor, lowest, highest = QUIET
    noise += np.float32(min(max(factor * level, lowest), highest) ** 2)
    raw: dict[int, Mask] = {}
    for position in map(int, chosen):
        one = measured[position]
        supported = _supported(energy, seen, chosen, position)
        magnitude = np.sqrt(cv2.GaussianBlur(supported, (0, 0), SMOOTH_QUIET / 2))
        magnitude[~(one.own & (one.distance() < REACH))] = 0
        least = NOISE_CUT * np.sqrt(cv2.resize(noise[position], (GRID, GRID)))
        raw[position] = _draw(magnitude, least)
    centres = {position: _centre(mask) for position, mask in raw.items() if mask.any()}
    for position in centres:
        masks[position] = _agreed(raw, centres, seen, position)
    return masks


def _energies(
    measured: Sequence[FaceDifference], table: NoiseTable, sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Energy of the smoothed differences [T, GRID, GRID], and that of noise at the cells of the table [T, g, g]."""
    weights = np.sqrt(np.array([[1], [CHROMA], [CHROMA]], np.float32)) * LUMA_CHROMA
    fields = []
    for one in measured:
        smooth = cv2.GaussianBlur(cv2.transform(one.grid.astype(np.float32), weights), (0, 0), sigma)
        fields.append(np.einsum("ijk,ijk->ij", smooth, smooth))
    energy = np.stack(fields)
    return energy, table.expected(energy[:, :: table.step, :: table.step])


def _supported(energy: NDArray[np.float32], seen: NDArray[np.intp], forged: NDArray[np.intp], position: int) -> Field:
    """The energy of a sample averaged with that of forged samples nearby."""
    total, weights = np.zeros_like(energy[0]), 0.0
    for other in forged:
        if (distance := abs(seen[other] - seen[position])) < len(ENERGY_SUPPORT):
            total += energy[other] * np.float32(ENERGY_SUPPORT[distance])
            weights += ENERGY_SUPPORT[distance]
    return np.asarray(total / weights, np.float32)


def _draw(magnitude: Field, least: Field) -> Mask:
    """Cells above the noise and above a share of the magnitude nearby, as convex parts."""
    strong = magnitude[magnitude > SEED * least]
    if not strong.size:
        return np.zeros((GRID, GRID), np.uint8)
    nearby = np.minimum(cv2.dilate(magnitude, _disk(NEARBY)), np.quantile(strong, BRIGHTEST).astype(np.float32))
    cut = np.maximum(least, EDGE * cv2.GaussianBlur(nearby, (0, 0), NEARBY / 2))
    _, labels = cv2.connectedComponents((magnitude > cut).astype(np.uint8))
    seeded = np.zeros(labels.max() + 1, np.uint8)
    seeded[labels[magnitude > SEED * cut]] = 255
    seeded[0] = 0
    region = cv2.morphologyEx(seeded[labels], cv2.MORPH_CLOSE, _disk(CLOSE))
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    mask = np.zeros((GRID, GRID), np.uint8)
    for outline, area in zip(outlines, areas, strict=True):
        if area >= SMALLEST_PART * max(areas):
            part = cv2.drawContours(np.zeros_like(mask), [outline], -1, 255, cv2.FILLED)
            opened = cv2.morphologyEx(part, cv2.MORPH_OPEN, _disk(OPEN * (area / np.pi) ** 0.5))
            rest, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            if rest:
                cv2.fillConvexPoly(mask, cv2.convexHull(max(rest, key=cv2.contourArea)), 255)
    return mask


def _agreed(
    raw: dict[int, Mask], centres: dict[int, NDArray[np.float64]], seen: NDArray[np.intp], position: int
) -> Mask:
    """What most of the regions nearby in time agree on, laid over each other by their centres; the outline smoothed."""
    votes, weights = np.zeros((GRID, GRID), np.float32), 0.0
    for other, centre in centres.items():
        distance = abs(seen[other] - seen[position])
        if distance < len(SHAPE_SUPPORT):
            x, y = centres[position] - centre
            moved = cv2.warpAffine(raw[other], np.array([[1, 0, x], [0, 1, y]]), (GRID, GRID))
            votes += moved * np.float32(SHAPE_SUPPORT[distance])
            weights += SHAPE_SUPPORT[distance]
    agreed = cv2.GaussianBlur(votes, (0, 0), ROUND) > 127.5 * weights
    return np.where(agreed, 255, 0).astype(np.uint8)


def _centre(mask: Mask) -> NDArray[np.float64]:
    moments = cv2.moments(mask, binaryImage=True)
    return np.array([moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]])


def _disk(radius: float) -> Mask:
    """Every cell within `radius` of the centre."""
    whole = max(int(radius + 0.5), 0)
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return np.asarray(x * x + y * y <= max(radius, 0.5) ** 2, np.uint8)
