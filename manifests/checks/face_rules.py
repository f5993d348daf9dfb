"""Rules for the faces of samples and their crops, as functions of all rows at once: box, landmarks, affine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill.manifests.checks.crop_geometry import aligned_affines, corners_in_crop, square_affines
from facemill.manifests.checks.sample_rows import Rows

__all__ = [
    "HALF_PIXEL",
    "box_outside",
    "crop_error",
    "landmarks_off",
    "landmarks_swapped",
    "no_similarity",
    "sides",
    "where_in_crop",
]

Mask = Any  # NDArray[np.bool_], [N]: too complex for type inference

HALF_PIXEL = 0.5
"""Tolerance in crop pixels for points outside the crop, and for deviations from the recipe's crop."""
SIMILARITY = 1e-4
"""Tolerance of a similarity's matrix (a -b; b a), as a share of its scale."""
LANDMARK_MARGIN = 0.5
"""How far outside its box a landmark may lie, in sides of the box; landmarks of profiles can lie outside."""
MIRRORED = -0.05
"""Area from eyes to mouth, as a share of the box, below which left and right are swapped; profiles are near 0."""


def sides(rows: Rows) -> NDArray[np.float64]:
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


def _in_crop(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimum and maximum, [N, 2] each, in crop coordinates, of the part of the box that the crop must contain."""
    corners = corners_in_crop(rows.numbers("affine"), rows.numbers("bbox").astype(np.float64))
    if _holds(rows) == "the box's centre":
        corners = corners.mean(axis=1, keepdims=True)
    return corners.min(axis=1), corners.max(axis=1)


def _holds(rows: Rows) -> str:
    crop = rows.recipe.crop
    if crop.around == "mask":
        return "any part of the box"
    return "the box" if crop.align == "none" else "the box's centre"


def box_outside(rows: Rows) -> Mask:
    (low, high), size = _in_crop(rows), rows.recipe.crop.size
    if rows.recipe.crop.around == "mask":
        return ~((low < size) & (high > 0)).all(axis=1)
    return ~((low >= -HALF_PIXEL) & (high <= size + HALF_PIXEL)).all(axis=1)


def where_in_crop(rows: Rows) -> dict[str, Any]:
    (left, top), (right, bottom) = (points.T for points in _in_crop(rows))
    return {"what": [_holds(rows)] * len(rows), "left": left, "top": top, "right": right, "bottom": bottom}


def crop_error(rows: Rows) -> NDArray[np.float64]:
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
    return np.where(rows.cropped | (crop.around == "face"), error, np.nan)
