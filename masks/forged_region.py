"""The forged region of a face: one or two smooth shapes for each stretch of a track.

Coding noise differs between samples, but a forged region keeps its place in the face. The differences of a stretch's
samples are therefore aligned by landmarks and averaged, both signed and squared. A threshold finds the region's parts,
of which `outline` finds the most likely outlines. In each sample, a part follows the landmarks near it.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.masks.difference import disk
from facemill.masks.difference_noise import NoiseTable
from facemill.masks.face_difference import FACE_CELLS, FINE, GRID, FaceDifference
from facemill.masks.outline import FaceAxis, Part, fit_outlines

__all__ = ["draw_regions"]

# Lengths are in cells, given as shares of the face's longer side; tuned on composed clips, like `find_forgeries`.
STRETCH = 12  # maximum number of samples that share one region
SHARED = 0.4  # weight of the energy of the mean difference, which has less noise; the rest is mean energy
QUIET = 0.5  # minimum noise in gray levels: encoders leave none where the image does not change
REACH = 1.6  # size of the ellipse that limits a region, relative to the one in the face's box

# Parts.
NOISE_CUT = 2.3  # minimum magnitude of a forged cell, in noise levels
SEED = 1.3  # in units of that cut: cells above it represent the region's magnitude
EDGE = 0.2  # minimum magnitude, relative to nearly the largest
BRIGHTEST = 0.95  # quantile for nearly the largest
CLOSE, OPEN = 0.047 * FACE_CELLS, 0.023 * FACE_CELLS  # radii
SMALLEST_PART, MOST_PARTS = 0.2, 2  # area as a share of the largest part's
# Of two joined parts: share of the area, width by height, energy between them as a share of theirs.
SMALLEST_HALF, WIDE, DARK = 0.25, 1.9, 0.8
BETWEEN = 0.023 * FACE_CELLS  # distance from the axis
NEAR, LOOSE = 0.125 * FACE_CELLS, 0.03  # sigma of a landmark's pull on a part, and the pull of what does not move
MIRRORED, CENTRAL = 0.85, 0.35  # distances of a centre from another's mirror image, and from the axis, in radii

Field = NDArray[np.float32]  # [GRID, GRID]
Mask = NDArray[np.uint8]  # [GRID, GRID]


def draw_regions(
    measured: Sequence[FaceDifference], fields: NDArray[np.float32], forged: NDArray[np.bool_], table: NoiseTable
) -> list[Mask]:
    """Draw the region of each forged sample.

    Args:
        measured: the T measurements of a track.
        fields: float32 [T, GRID, GRID, 3], their smoothed differences.
        forged: [T], which samples are forged; the regions of the others are empty.
        table: gives the expected noise.

    Returns:
        T masks, uint8 [GRID, GRID], 255 inside and 0 outside; the outline is where they pass 127.5.
    """
    masks = [np.zeros((GRID, GRID), np.uint8) for _ in measured]
    chosen = np.flatnonzero(forged)
    if not len(chosen):
        return masks
    some = fields[:, :: table.step, :: table.step]
    noise = table.expected(np.einsum("tijk,tijk->tij", some, some))
    for stretch in np.array_split(chosen, -(-len(chosen) // STRETCH)):
        within = [measured[position].own & (measured[position].distance < REACH) for position in stretch]
        places = [measured[position].landmarks for position in stretch]
        moves = _to_one_place(places)
        moved = np.stack([_warped(fields[position], move) for position, move in zip(stretch, moves, strict=True)])
        whole, mean = np.einsum("tijk,tijk->ij", moved, moved) / len(stretch), moved.mean(axis=0)
        there = SHARED * np.einsum("ijk,ijk->ij", mean, mean) + (1 - SHARED) * whole
        mostly = np.mean([_warped(one * 1.0, move) for one, move in zip(within, moves, strict=True)], axis=0) > 0.5
        beyond = np.all([measured[position].own for position in stretch], axis=0) & ~mostly
        left = (there[beyond].sum() + 1) / (whole[beyond].sum() + 1)  # share of the noise that averaging leaves
        expected = np.asarray(cv2.resize(noise[stretch].mean(axis=0), (GRID, GRID)) * left + QUIET**2, np.float32)
        points = _five(places, moves)
        axis = FaceAxis.of(points.mean(axis=0)) if points.size else None
        outlines = [one + _shifts(one, points)[:, None] for one in _outlines(there, expected, mostly, axis)]
        for index, (position, inside, move) in enumerate(zip(stretch, within, moves, strict=True)):
            back = cv2.invertAffineTransform(move)
            for outline in outlines:  # one by one: where two overlap, fillPoly would leave a hole
                here = np.rint((outline[index] @ back[:, :2].T + back[:, 2]) * 16).astype(np.int32)
                cv2.fillPoly(masks[position], [here], 255, lineType=cv2.LINE_AA, shift=4)
            masks[position] *= inside
    return masks


def _to_one_place(landmarks: Sequence[NDArray[np.float64] | None]) -> list[NDArray[np.float64]]:
    """Similarities [2, 3] from each sample's cells to the mean face's; the identity if landmarks are missing."""
    known = [points for points in landmarks if points is not None]
    if len(known) < len(landmarks):
        return [np.eye(2, 3)] * len(landmarks)
    points = np.stack(known) @ [1, 1j]  # [T, points]
    away = points - points.mean(axis=1, keepdims=True)
    goal = points.mean(axis=0) - points.mean()
    turns = away.conj() @ goal / np.maximum(np.square(np.abs(away)).sum(axis=1), 1)
    shifts = points.mean() - turns * points.mean(axis=1)
    return [
        np.array([[z.real, -z.imag, to.real], [z.imag, z.real, to.imag]]) for z, to in zip(turns, shifts, strict=True)
    ]


def _five(landmarks: Sequence[NDArray[np.float64] | None], moves: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Landmarks of each sample in the mean face's cells: [T, 5, 2] if five are known of each, else [T, 0, 2]."""
    moved = [
        points @ move[:, :2].T + move[:, 2] for points, move in zip(landmarks, moves, strict=True) if points is not None
    ]
    return np.stack(moved) if len(moved) == len(moves) and len(moved[0]) == 5 else np.zeros((len(moves), 0, 2))


def _shifts(outline: NDArray[np.float64], landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far [T, 2] a part has moved in each sample, with the eyes and corners of the mouth that are near it."""
    mean = landmarks.mean(axis=0)
    near = np.exp(-np.square((mean - outline.mean(axis=0)) / NEAR).sum(axis=1) / 2)
    near[2:3] = 0  # the nose, which moves most where a head turns
    return np.asarray(near @ (landmarks - mean) / (near.sum() + LOOSE))


def _warped(field: NDArray[Any], move: NDArray[np.float64]) -> NDArray[Any]:
    return np.asarray(cv2.warpAffine(field, move, (GRID, GRID), flags=cv2.INTER_LINEAR))


def _outlines(
    energy: Field, noise: Field, within: NDArray[np.bool_], axis: FaceAxis | None
) -> list[NDArray[np.float64]]:
    """Outlines of the parts whose energy exceeds the noise and a share of the largest energy, as in `fit_outlines`."""
    shapes = _shapes(_parts(energy, noise, within, axis), axis)
    y, x = np.mgrid[:GRID, :GRID]
    every = [part for parts, _ in shapes for part in parts]
    away = np.array([np.hypot(x - part.centre[0], y - part.centre[1]) / part.radius for part in every])
    nearest = iter([(within & (one <= away.min(axis=0))).astype(np.float32) for one in away])
    return [
        outline
        for parts, about in shapes
        for outline in fit_outlines(energy, noise, [next(nearest) for _ in parts], parts, about)
    ]


def _parts(energy: Field, noise: Field, within: NDArray[np.bool_], axis: FaceAxis | None) -> list[Part]:
    """The largest parts."""
    magnitude = np.sqrt(cv2.GaussianBlur(energy, (0, 0), FINE)) * within
    least = NOISE_CUT * np.sqrt(noise)
    strong = magnitude[magnitude > SEED * least]
    if not strong.size:
        return []
    above = (magnitude > np.maximum(least, EDGE * np.quantile(strong, BRIGHTEST))).astype(np.uint8)
    closed = cv2.morphologyEx(above, cv2.MORPH_CLOSE, disk(CLOSE))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, disk(OPEN))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = [index for index in np.argsort(-areas)[:MOST_PARTS] if areas[index] >= SMALLEST_PART * areas.max()]
    found = [np.argwhere(labels == 1 + index)[:, ::-1] for index in largest]  # of each part [cells, xy]
    if found and axis is not None:
        found = _halves(found[0], energy, axis) or found
    return [Part(cells.mean(axis=0), (len(cells) / np.pi) ** 0.5) for cells in found]


def _halves(cells: NDArray[np.intp], energy: Field, axis: FaceAxis) -> list[NDArray[np.intp]]:
    """The cells [N, 2] of a part on either side of the axis, if closing has joined two parts, such as both eyes."""
    aside, along = axis.aside(cells), (cells - axis.origin) @ axis.down
    sides, between = [cells[aside < 0], cells[aside >= 0]], np.abs(aside) < BETWEEN
    if min(map(len, sides)) < SMALLEST_HALF * len(cells) or aside.std() < WIDE * along.std() or not between.any():
        return []
    strength = energy[cells[:, 1], cells[:, 0]]
    return sides if strength[between].mean() < DARK * strength[~between].mean() else []


def _shapes(parts: list[Part], axis: FaceAxis | None) -> list[tuple[list[Part], FaceAxis | None]]:
    """Parts that have one outline, each with the axis if there is symmetry about it."""
    if axis is None:
        return [([part], None) for part in parts]
    if len(parts) == 2:
        radius = float(np.sqrt(np.mean([part.radius**2 for part in parts])))
        (first, _), (second, _) = parts
        image = axis.mirrored(second)
        if np.hypot(*(first - image)) < MIRRORED * radius and axis.aside(first) * axis.aside(second) < 0:
            centre = (first + image) / 2
            return [([Part(centre, radius), Part(axis.mirrored(centre), radius)], axis)]
    return [
        ([Part(axis.mirrored(centre, 0.5), radius)], axis)
        if abs(axis.aside(centre)) < CENTRAL * radius
        else ([Part(centre, radius)], None)
        for centre, radius in parts
    ]
