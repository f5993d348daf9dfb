"""The demo's subjects: variants of one portrait in colours, face shape and lighting."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from facemill.pipeline.demo.portrait import (
    BROWS,
    EYES,
    HAIR_OUTLINE,
    INNER_LIPS,
    JAW,
    LANDMARKS,
    LIPS,
    NOSE,
    PATCH_SCALE,
    PATCH_SIZE,
    FloatArray,
    fill,
    load_portrait,
)

__all__ = ["LIGHT", "LUMA", "TONES", "Subject", "create_subject", "displacement", "warp"]

LUMA: FloatArray = np.array([0.299, 0.587, 0.114], np.float32)
TONES = (  # skin colour, and hair colours that match it
    ((0.84, 0.68, 0.57), ((0.62, 0.50, 0.30), (0.45, 0.30, 0.16), (0.58, 0.57, 0.56), (0.22, 0.15, 0.10))),
    ((0.74, 0.55, 0.42), ((0.13, 0.10, 0.09), (0.27, 0.18, 0.11), (0.38, 0.26, 0.16))),
    ((0.60, 0.42, 0.31), ((0.09, 0.08, 0.08), (0.16, 0.11, 0.08), (0.42, 0.41, 0.40))),
)
LIGHT = (0.74, 1.28)
"""Factors of a face in shadow, and of one under a lamp."""
# Parts of the face (left and right), largest growth (x, y), largest shift (x outwards, y down; photograph's pixels).
_SHAPES = (
    (EYES, (0.13, 0.22), (3, 2.5)),
    ((slice(BROWS.start, BROWS.start + 5), slice(BROWS.start + 5, BROWS.stop)), (0.1, 0.4), (3, 2.5)),
    ((slice(NOSE.start + 4, NOSE.stop),), (0.25, 0.1), (0, 3)),
    ((slice(LIPS.start, INNER_LIPS.stop),), (0.17, 0.25), (0, 3)),
    ((JAW,), (0.06, 0.07), (0, 2)),
)
_ANCHORS: FloatArray = np.array(
    [(x, y) for x in np.linspace(0, PATCH_SIZE, 5) for y in np.linspace(0, PATCH_SIZE, 5) if {x, y} & {0, PATCH_SIZE}],
    np.float32,
)
_LAMP_SOFTNESS = 20.0  # sigma of the light's edge, pixels of the patch
_STEP = 10  # pixels of the patch per cell of a displacement field


@dataclass(frozen=True)
class Subject:
    """A person, as a patch that can be warped to a pose.

    Attributes:
        image: float32 RGB in 0..1, [PATCH_SIZE, PATCH_SIZE, 3].
        alpha: opacity, [PATCH_SIZE, PATCH_SIZE].
        landmarks: the 68 points of this face, pixels of the patch, [68, 2].
        hair: outline of the hair, pixels of the patch, [N, 2].
        lit: whether the face is under a lamp, instead of in shadow.
    """

    image: FloatArray
    alpha: FloatArray
    landmarks: FloatArray
    hair: FloatArray
    lit: bool


def create_subject(rng: np.random.Generator, tone: int, *, lit: bool) -> Subject:
    """Create a subject: recolour the portrait, as a tone of `TONES`, change its face shape, and relight it.

    Raises:
        ConfigError: if scikit-image is not installed.
    """
    portrait, (skin, hairs) = load_portrait(), TONES[tone]
    cloth = cv2.cvtColor(np.array([[[rng.uniform(0, 360), 0.5, rng.uniform(0.2, 0.7)]]], np.float32), cv2.COLOR_HSV2RGB)
    image = portrait.image
    for mask, colour in ((portrait.skin, skin), (portrait.hair, rng.choice(hairs)), (portrait.suit, cloth[0, 0])):
        image = _recolour(image, mask, np.array(colour) * rng.uniform(0.93, 1.07) * rng.uniform(0.98, 1.02, 3))
    landmarks, hair = _face_shape(rng)
    moved = np.concatenate([landmarks, hair]) * PATCH_SCALE
    field = displacement(moved, np.concatenate([LANDMARKS, HAIR_OUTLINE]) * PATCH_SCALE)
    shone = 1 + (LIGHT[lit] - 1) * _face_region(landmarks)
    image = _relight(rng, warp(image, field), shone)
    return Subject(image, warp(portrait.body, field), landmarks * PATCH_SCALE, hair * PATCH_SCALE, lit)


def _recolour(image: FloatArray, mask: FloatArray, colour: NDArray[np.float64]) -> FloatArray:
    """Change the mean colour within a mask, and keep the shading."""
    shade = image / image[mask > 0.9].mean(axis=0)
    return np.asarray(image + ((shade * colour).clip(0, 1) - image) * mask[..., None], np.float32)


def _face_shape(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Randomly changed landmarks and hair outline, pixels of the photograph."""
    points = LANDMARKS.copy()
    for parts, growth, shift in _SHAPES:
        factors, offset = rng.uniform(-1, 1, 2) * growth + 1, rng.uniform(-1, 1, 2) * shift
        for side, part in zip((-1, 1), parts, strict=False):
            centre = points[part].mean(axis=0)
            points[part] = centre + (points[part] - centre) * factors + offset * (side, 1)
    centre, volume = HAIR_OUTLINE.mean(axis=0), rng.uniform([0.93, 0.9], [1.08, 1.08])
    return points, np.asarray(centre + (HAIR_OUTLINE - centre) * volume, np.float32)


def _face_region(landmarks: FloatArray) -> FloatArray:
    """A soft mask of the face, from jaw to forehead; landmarks in pixels of the photograph."""
    outline = np.concatenate([landmarks[JAW], landmarks[BROWS] - (0, 10)])
    return fill(cv2.convexHull(np.asarray(outline, np.float32))[:, 0], _LAMP_SOFTNESS)


def _relight(rng: np.random.Generator, image: FloatArray, shone: FloatArray) -> FloatArray:
    """Light the whole person from one side, and the face by a factor, [PATCH_SIZE, PATCH_SIZE]."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, PATCH_SIZE, dtype=np.float32)] * 2)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
    towards = np.cos(angle) * (x - 0.12) + 0.5 * np.sin(angle) * (y + 0.35)
    exposure, warmth = rng.uniform(0.79, 0.92), rng.uniform(-0.10, 0.06)
    light = shone * exposure * np.exp2(strength * (np.tanh(towards * 2.5) - 0.25))
    return np.asarray((image * light[..., None] * (1 + warmth, 1, 1 - warmth)).clip(0, 1), np.float32)


def displacement(moved: FloatArray, original: FloatArray) -> FloatArray:
    """Field F with `p + F(p) = q` for every point p of `moved` and its q of `original`.

    It is a thin-plate spline through the points, with the borders of the patch fixed. As in `cv2.remap`, it maps
    a pixel of the result to its source position.

    Args:
        moved, original: [N, 2], pixels of the patch; the points of `moved` are distinct.

    Returns:
        float32 [PATCH_SIZE // 10, PATCH_SIZE // 10, 2], in pixels of the patch.
    """
    spline = RBFInterpolator(
        np.concatenate([moved, _ANCHORS]),
        np.concatenate([original - moved, np.zeros_like(_ANCHORS)]),
        kernel="thin_plate_spline",
    )
    side = PATCH_SIZE // _STEP
    centres = (np.arange(side) + 0.5) * _STEP - 0.5  # pixel centres of the coarse grid in cv2.resize
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)  # [side², 2]
    return np.asarray(spline(grid).reshape(side, side, 2), np.float32)


def warp(image: FloatArray, field: FloatArray) -> FloatArray:
    """Warp a patch [PATCH_SIZE, PATCH_SIZE(, C)] by a `displacement`."""
    fine = cv2.resize(field, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(PATCH_SIZE, dtype=np.float32), np.arange(PATCH_SIZE, dtype=np.float32))
    moved = cv2.remap(image, x + fine[..., 0], y + fine[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved.clip(0, 1), np.float32)
