"""Descriptors of a face and its surroundings, which distinguish the people of one shot."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face

__all__ = ["describe", "unlikeness"]

WIDE, REACH = 48, 3.0
"""Side of the aligned image of a face with hair and clothes, in pixels and in sides of the face."""
CORE = 32
"""Side of the aligned image of the face alone, in pixels."""
CELLS = 6
"""Number of cells along a side of the wide image; each contributes its mean colour."""
SHAPE_WEIGHT, COLOUR_SCALE = 0.6, 60.0
"""Weight of the gradients, and the colour difference (CIELAB) that counts as 1."""
BETTER_HALF = 0.8
"""Weight of the more similar half of a face: the other may be hidden by somebody in front."""

# Beside the head there is background, which changes as the person moves.
_CELL_WEIGHTS = np.array(
    [
        [0, 0, 0.3, 0.3, 0, 0],
        [0, 0.3, 1, 1, 0.3, 0],
        [0, 0.5, 1, 1, 0.5, 0],
        [0, 0.5, 1, 1, 0.5, 0],
        [0, 0.6, 1, 1, 0.6, 0],
        [0.2, 0.8, 1, 1, 0.8, 0.2],
    ]
)


def describe(image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
    """Descriptor [2, d] of a face in an RGB image [H, W, 3]: for its left and right half the gradients of the
    aligned face and the colours around it.

    Descriptors are compared with `unlikeness`. What lies beyond the image counts as its nearest pixels.
    """
    wide = _aligned(image, face)
    lab = cv2.cvtColor(wide.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    cell = WIDE // CELLS
    colours = lab.reshape(CELLS, cell, CELLS, cell, 3).mean(axis=(1, 3))  # [6, 6, 3]
    weights = np.sqrt(2 * _CELL_WEIGHTS / _CELL_WEIGHTS.sum())[..., None] * [0.6, 1, 1]
    margin = (WIDE - round(WIDE / REACH * 1.3)) // 2
    core = cv2.resize(cv2.cvtColor(wide, cv2.COLOR_RGB2GRAY)[margin:-margin, margin:-margin], (CORE, CORE))
    halves = [
        np.concatenate([SHAPE_WEIGHT * _shape(side), colour.ravel() / COLOUR_SCALE])
        for side, colour in zip(np.hsplit(core, 2), np.hsplit(colours * weights, 2), strict=True)
    ]
    return np.stack(halves).astype(np.float32)


def unlikeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances [N, M] of descriptors [N, 2, d] and [M, 2, d]: the more similar half counts more."""
    squares = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=3)  # [N, M, 2]
    return np.asarray(np.sqrt(BETTER_HALF * squares.min(axis=2) + (1 - BETTER_HALF) * squares.max(axis=2)))


def _shape(half: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vector [4 * 8 * 4]: mean gradient of the brightness in four directions, in each of 8 by 4 cells."""
    smooth = cv2.GaussianBlur(half, (0, 0), 1.5).astype(np.float32)
    rows, columns = np.gradient(smooth)
    rises = np.maximum(np.stack([rows, -rows, columns, -columns]), 0)
    cell = CORE // 8
    cells = np.sqrt(rises.reshape(4, 8, cell, 4, cell).mean(axis=(2, 4)))
    return np.asarray(cells.ravel() / max(float(np.linalg.norm(cells)), 1e-6), np.float32)


def _aligned(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Upright RGB image [WIDE, WIDE, 3] of the face's surroundings."""
    x1, y1, x2, y2 = (float(v) for v in face.bbox)
    side = max(x2 - x1, y2 - y1, 1.0)
    centre, angle = np.array([(x1 + x2) / 2, (y1 + y2) / 2]), 0.0
    eyes = face.landmarks[1] - face.landmarks[0]
    if np.hypot(*eyes) > 0.1 * side:
        angle = float(np.clip(np.arctan2(eyes[1], eyes[0]), -0.8, 0.8))
    zoom = WIDE / (REACH * side)
    shrink = min(1.0, 1.5 * zoom)  # shrinking first prevents aliasing by the warp
    half = REACH * side * 0.75
    low = np.clip(np.floor(centre - half), 0, np.array(image.shape[1::-1]) - 1).astype(int)
    high = np.maximum(np.clip(np.ceil(centre + half), 1, image.shape[1::-1]).astype(int), low + 1)
    part = image[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(np.rint(np.array(part.shape[1::-1]) * shrink), 1).astype(int)
    part = cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA)
    scale = size / (high - low)
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / scale
    shift = WIDE / 2 - matrix @ ((centre - low) * scale)
    affine = np.column_stack([matrix, shift])
    warped = cv2.warpAffine(np.ascontiguousarray(part), affine, (WIDE, WIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
