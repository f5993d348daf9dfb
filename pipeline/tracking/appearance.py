"""What a face and its surroundings look like, in a few numbers: tells the people of one shot apart."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.pipeline.config.recipe import CropSettings
from facemill.pipeline.extract.crop import align_affine, crop_image

__all__ = ["describe", "unlikeness"]

WIDE, REACH = 48, 3.0
"""Side of the aligned image of a face with hair and clothes: pixels, and face sides that they cover."""
PLACED, LOWER = CropSettings(size=WIDE, scale=2.5, align="similarity"), 1.8
"""How landmarks are brought there, and the pixels by which the middle of a face lies higher in the template of
`align_affine` than in a box."""
CORE = 32
"""Side of the aligned image of the face alone, in pixels."""
CELLS = 6
"""Cells of the wide image along each side, of which each gives its mean colour."""
SHAPE_WEIGHT, COLOUR_SCALE = 0.6, 60.0
"""Weight of the gradients, and the difference of colours (CIELAB) that weighs as much as 1."""

# What lies beside the head is background, which changes while the person moves.
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
    """Distances [N, M] of descriptors [N, 2, d] and [M, 2, d]: the half that agrees better counts.

    The other one may be hidden by somebody in front, who would then be taken for a difference of the face.
    """
    squares = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=3)  # [N, M, 2]
    return np.asarray(np.sqrt(squares.min(axis=2)))


def _shape(half: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vector [4 * 8 * 4]: mean strength of the brightness' rise in four directions, in each of 8 by 4 cells."""
    smooth = cv2.GaussianBlur(half, (0, 0), 1.5).astype(np.float32)
    rows, columns = np.gradient(smooth)
    rises = np.maximum(np.stack([rows, -rows, columns, -columns]), 0)
    cell = CORE // 8
    cells = np.sqrt(rises.reshape(4, 8, cell, 4, cell).mean(axis=(2, 4)))
    return np.asarray(cells.ravel() / max(float(np.linalg.norm(cells)), 1e-6), np.float32)


def _aligned(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Upright RGB image [WIDE, WIDE, 3] of the face's surroundings.

    It is placed by the landmarks: box edges move more where a part of the face is hidden.
    """
    affine = align_affine(face.landmarks, PLACED)
    affine[1, 2] -= LOWER
    return crop_image(image, affine, WIDE, repeat_edge=True)
