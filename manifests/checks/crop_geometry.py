"""The expected crops of a recipe: affines of many faces, computed independently of the code that crops.

Coordinates are those of `facemill.manifests.records`; an affine is [2, 3] row-major, here a row of 6.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEMPLATE", "aligned_affines", "corners_in_crop", "square_affines"]

Floats = NDArray[np.float64]

# Five landmarks of an upright face in a unit square around the face box (ArcFace's 112-pixel template).
TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]) / 112.0


def square_affines(boxes: Floats, scale: Floats | float, size: int) -> Floats:
    """Affines [N, 6] that map the square of `scale` longer sides around each box [N, 4] to the crop."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).max(axis=1) * scale
    zoom = size / sides
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
