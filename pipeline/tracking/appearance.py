"""What a face looks like: a thumbnail, and an embedding that is computed where thumbnails leave a doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from facemill.detectors.face import Face
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine, crop_image

__all__ = ["Look", "compute_embeddings", "describe", "much_alike", "unlikeness"]

CHIP = 150
"""Side of the aligned face, in pixels."""
ALIGNMENT, OFFSET = CropSettings(size=165, scale=1.0), (7.5, 30.5)
"""The chip is what lies from `OFFSET` on in a larger crop: there the embedding's network expects the face."""
THUMBNAIL = 10
"""Side of the thumbnail of the aligned face, in pixels."""
WIDE, REACH = 48, 3.0
"""Side of the aligned image of a face with hair and clothes: pixels, and face sides that they cover."""
CORE = 32
"""Side of the aligned image of the face alone, in pixels."""
CELLS = 6
"""Cells of the wide image along each side, of which each gives its mean colour."""
SHAPE_WEIGHT, COLOUR_SCALE = 0.6, 60.0
"""Weight of the gradients, and the difference of colours (CIELAB) that weighs as much as 1."""
BETTER_HALF = 0.8
"""Weight of the half of a face that agrees better: the other may be hidden by somebody in front."""

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



SHARE = 0.6
SCALE = 1.33
ALIKE = 0.5
"""Difference of thumbnails below which they show one person."""


@dataclass(slots=True, eq=False)
class Look:
    """Appearance of a face in one frame.

    Attributes:
        thumbnail: unit vector: the aligned face, small, without its mean colour.
        chip: aligned RGB face [150, 150, 3]; None once there is an embedding.
        embedding: [128]; see `compute_embeddings`.
    """

    thumbnail: NDArray[np.float32]
    chip: NDArray[np.uint8] | None
    surroundings: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None


def describe(image: NDArray[np.uint8], face: Face) -> Look:
    """Appearance of a face in an RGB image [H, W, 3]. What lies beyond the image counts as its nearest pixels."""
    affine = align_affine(face.landmarks, ALIGNMENT)
    affine[:, 2] -= OFFSET
    chip = crop_image(image, affine, CHIP, repeat_edge=True)
    small = cv2.resize(chip, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean(axis=(0, 1))
    return Look(small.ravel() / max(float(np.linalg.norm(small)), 1e-6), chip, _surroundings(image, face))


def compute_embeddings(looks: Sequence[Look]) -> None:
    """Give those that have none their embedding; many at once are cheaper than one by one."""
    chips = {id(look): look for look in looks if look.embedding is None}
    if not chips:
        return
    from facemill.pipeline.tracking.embedding import embed  # torch takes seconds, and most clips need none of it

    embeddings = embed(np.stack([look.chip for look in chips.values() if look.chip is not None]))
    for look, embedding in zip(chips.values(), embeddings, strict=True):
        look.chip, look.embedding = None, embedding


def unlikeness(a: Sequence[Look], b: Sequence[Look]) -> NDArray[np.float64]:
    """Distances [N, M] of embeddings."""
    compute_embeddings([*a, *b])
    first, second = ([look.embedding for look in looks if look.embedding is not None] for looks in (a, b))
    e = cdist(np.stack(first), np.stack(second))
    o = _unlike_surroundings(np.stack([k.surroundings for k in a]), np.stack([k.surroundings for k in b]))
    return np.sqrt(SHARE * e**2 + (1 - SHARE) * (SCALE * o) ** 2)


def much_alike(seen: Sequence[Look], look: Look) -> bool:
    """Whether a thumbnail hardly differs from one of those seen: no embedding is needed to know the person."""
    return bool(min(np.linalg.norm(other.thumbnail - look.thumbnail) for other in seen) < ALIKE)


def _surroundings(image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
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


def _unlike_surroundings(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances [N, M] of descriptors [N, 2, d] and [M, 2, d]: the half that agrees better counts more."""
    squares = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=3)  # [N, M, 2]
    return np.asarray(np.sqrt(BETTER_HALF * squares.min(axis=2) + (1 - BETTER_HALF) * squares.max(axis=2)))


def _shape(half: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vector [4 * 8 * 4]: mean strength of the brightness' rise in four directions, in each of 8 by 4 cells."""
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
    shrink = min(1.0, 1.5 * zoom)  # what is shrunk first is not aliased by the warp
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
