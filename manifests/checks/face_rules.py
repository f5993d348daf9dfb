"""Rules for the faces of samples and their crops, as functions of all rows at once: box, landmarks, affine.

The expected crops of a recipe are computed independently of the code that crops. Coordinates are those of
`facemill.manifests.records`; an affine is [2, 3] row-major, here a row of 6.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill.manifests.checks.sample_rows import Rows

__all__ = [
    "HALF_PIXEL",
    "aligned_affines",
    "box_outside",
    "corners_in_crop",
    "crop_error",
    "landmarks_off",
    "landmarks_swapped",
    "no_similarity",
    "sides",
    "square_affines",
    "unsteady",
    "where_in_crop",
]

Floats = NDArray[np.float64]
Mask = Any  # NDArray[np.bool_], [N]: too complex for type inference

# Five landmarks of an upright face in a unit square around the face box (ArcFace's 112-pixel template).
TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]) / 112.0

HALF_PIXEL = 0.5
"""Tolerance in crop pixels for points outside the crop, and for deviations from the recipe's crop."""
SIMILARITY = 1e-4
"""Tolerance of a similarity's matrix (a -b; b a), as a share of its scale."""
LANDMARK_MARGIN = 0.5
"""How far outside its box a landmark may lie, in sides of the box; landmarks of profiles can lie outside."""
MIRRORED = -0.05
"""Area from eyes to mouth, as a share of the box, below which left and right are swapped; profiles are near 0."""


def sides(rows: Rows) -> Floats:
    """Width and height of the boxes, [N, 2]."""
    box = rows.numbers("bbox").astype(np.float64)
    return np.asarray(box[:, 2:] - box[:, :2])


def landmarks_off(rows: Rows) -> Mask:
    box, points = rows.numbers("bbox"), rows.numbers("landmarks").reshape(-1, 5, 2)
    margin = LANDMARK_MARGIN * sides(rows)
    off = (points < (box[:, :2] - margin)[:, None]) | (points > (box[:, 2:] + margin)[:, None])
    return ~rows.cropped & np.asarray(off.any(axis=(1, 2)))


def landmarks_swapped(rows: Rows) -> Mask:
    """Rotated by 90 degrees, the left-right axis must point from eyes to mouth, for any rotation of the face."""
    left_eye, right_eye, nose, left, right = np.moveaxis(rows.numbers("landmarks").reshape(-1, 5, 2), 1, 0)
    down = (left + right - left_eye - right_eye) / 2
    area = sides(rows).prod(axis=1)
    swapped = np.zeros(len(rows), bool)
    for across in (right_eye - left_eye, right - left):
        swapped |= across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < MIRRORED * area
    along = ((nose - (left_eye + right_eye) / 2) * down).sum(axis=1) / np.maximum((down**2).sum(axis=1), 1e-9)
    return ~rows.cropped & (swapped | (along < -0.5) | (along > 1.5))


def no_similarity(rows: Rows) -> Mask:
    a, b, _, c, d, _ = rows.numbers("affine").T
    zoom = np.hypot(a, c)
    return ~((zoom > 0) & (np.maximum(abs(a - d), abs(b + c)) <= SIMILARITY * zoom))


def _in_crop(rows: Rows) -> tuple[Floats, Floats]:
    """Minimum and maximum, [N, 2] each, in crop coordinates, of the part of the box that the crop must contain."""
    corners = corners_in_crop(rows.numbers("affine"), rows.numbers("bbox").astype(np.float64))
    if _holds(rows) == "the box's centre":
        corners = corners.mean(axis=1, keepdims=True)
    return corners.min(axis=1), corners.max(axis=1)


def _holds(rows: Rows) -> str:
    crop = rows.recipe.crop
    if crop.around == "mask":
        return "any part of the box"
    return "the box" if crop.align == "none" and not crop.steady else "the box's centre"


def box_outside(rows: Rows) -> Mask:
    (low, high), size = _in_crop(rows), rows.recipe.crop.size
    if rows.recipe.crop.around == "mask":
        return ~((low < size) & (high > 0)).all(axis=1)
    return ~((low >= -HALF_PIXEL) & (high <= size + HALF_PIXEL)).all(axis=1)


def where_in_crop(rows: Rows) -> dict[str, Any]:
    (left, top), (right, bottom) = (points.T for points in _in_crop(rows))
    return {"what": [_holds(rows)] * len(rows), "left": left, "top": top, "right": right, "bottom": bottom}


def crop_error(rows: Rows) -> Floats:
    """Distance of the crop from the recipe's crop, in crop pixels, [N]; NaN if the recipe does not determine it."""
    crop, boxes = rows.recipe.crop, rows.numbers("bbox").astype(np.float64)
    if crop.align == "similarity":
        expected = aligned_affines(rows.numbers("landmarks").astype(np.float64), crop.scale, crop.size)
    else:
        expected = square_affines(boxes, crop.scale, crop.size)
    whole = square_affines(boxes, 1.0, crop.size)
    expected = np.where(rows.cropped[:, None], whole, expected)
    off = corners_in_crop(rows.numbers("affine") - expected, boxes)
    error = np.asarray(np.hypot(off[..., 0], off[..., 1]).max(axis=1))
    return np.where(rows.cropped | (crop.around == "face" and not crop.steady), error, np.nan)


def unsteady(rows: Rows) -> Mask:
    """Where a steady crop differs from that of the same track's frame before."""
    broken = np.zeros(len(rows), bool)
    if rows.recipe.crop.steady:
        track, frame, affine = rows.tracks, rows.numbers("frame_index"), rows.numbers("affine")
        order = np.lexsort((frame, track))
        follows = (np.diff(track[order]) == 0) & (np.diff(frame[order]) == 1) & ~rows.cropped[order][1:]
        broken[order[1:]] = follows & (affine[order][1:] != affine[order][:-1]).any(axis=1)
    return broken


def square_affines(boxes: Floats, scale: Floats | float, size: int) -> Floats:
    """Affines [N, 6] that map the square of `scale` longer sides around each box [N, 4] to the crop."""
    zoom = size / (np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).max(axis=1) * scale)
    shift = size / 2 - (boxes[:, :2] + boxes[:, 2:]) / 2 * zoom[:, None]  # [N, 2]
    zero = np.zeros_like(zoom)
    return np.stack([zoom, zero, shift[:, 0], zero, zoom, shift[:, 1]], axis=1)


def aligned_affines(landmarks: Floats, scale: float, size: int) -> Floats:
    """Affines [N, 6] of the similarities that bring landmarks [N, 10] closest to the template (least squares)."""
    points = landmarks.reshape(-1, 5, 2)
    target = ((TEMPLATE - 0.5) / scale + 0.5) * size
    # As complex numbers a similarity is z -> r z + s, and least squares gives r as a ratio of two inner products.
    z, goal = points @ [1, 1j], target @ [1, 1j]
    centred, wanted = z - z.mean(axis=1, keepdims=True), goal - goal.mean()
    spread = np.maximum((abs(centred) ** 2).sum(axis=1), 1e-9)
    r = (centred.conj() * wanted).sum(axis=1) / spread
    s = goal.mean() - r * z.mean(axis=1)
    return np.stack([r.real, -r.imag, s.real, r.imag, r.real, s.imag], axis=1)


def corners_in_crop(affines: Floats, boxes: Floats) -> Floats:
    """The corners of boxes [N, 4] as points of the crop, [N, 4, 2]."""
    corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    matrices = affines.reshape(-1, 2, 3)
    mapped = np.einsum("nij,ncj->nci", matrices[:, :, :2], corners) + matrices[:, None, :, 2]
    return np.asarray(mapped, np.float64)
