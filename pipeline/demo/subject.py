"""The people of the demo: one portrait, many faces."""

from dataclasses import dataclass

import numpy as np

from facemill.pipeline.demo.looks import dress
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
    load_portrait,
)
from facemill.pipeline.demo.warp import displacement, warp

__all__ = ["Subject", "create_subject"]

_MIDLINE = 225.0  # x of the nose, picture


@dataclass(frozen=True)
class Subject:
    """A person, as a patch that can be posed.

    Attributes:
        image: float32 RGB in 0..1, [PATCH_SIZE, PATCH_SIZE, 3].
        alpha: opacity, [PATCH_SIZE, PATCH_SIZE].
        landmarks: the 68 points of this face, pixels of the patch, [68, 2].
        hair: outline of the hair, pixels of the patch, [N, 2].
    """

    image: FloatArray
    alpha: FloatArray
    landmarks: FloatArray
    hair: FloatArray


def create_subject(rng: np.random.Generator, tone: str, *, dim: bool) -> Subject:
    """Dress the portrait and give it a face shape and a light of its own.

    Args:
        tone: one of `looks.TONES`.
        dim: whether the person stands in dim, cool light, or in bright and warm light.

    Raises:
        ConfigError: if scikit-image is not installed.
    """
    image, alpha = dress(rng, load_portrait(), tone)
    landmarks, hair = _face_shape(rng)
    moved = np.concatenate([landmarks, hair[::2]]) * PATCH_SCALE
    original = np.concatenate([LANDMARKS, HAIR_OUTLINE[::2]]) * PATCH_SCALE
    field = displacement(moved, original)
    lit = _relight(rng, warp(image, field), dim=dim)
    return Subject(lit, warp(alpha, field), landmarks * PATCH_SCALE, hair * PATCH_SCALE)


def _scaled(points: FloatArray, factors: tuple[float, float]) -> FloatArray:
    centre = points.mean(axis=0)
    return np.asarray(centre + (points - centre) * np.array(factors, np.float32), np.float32)


def _face_shape(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Move the landmarks and the outline of the hair, in pixels of the picture."""
    points, hair = LANDMARKS.copy(), HAIR_OUTLINE.copy()
    _shape_eyes_and_brows(rng, points)
    _shape_nose(rng, points)
    _shape_mouth(rng, points)
    _shape_jaw(rng, points)
    width = rng.uniform(0.93, 1.08)  # of the whole head
    points[:, 0] = _MIDLINE + (points[:, 0] - _MIDLINE) * width
    centre = np.array([227, 100], np.float32)
    volume = np.array([width * rng.uniform(0.93, 1.08), rng.uniform(0.88, 1.1)], np.float32)
    return points, centre + (hair - centre) * volume


def _shape_eyes_and_brows(rng: np.random.Generator, points: FloatArray) -> None:
    apart, lift, open_, size, slant = rng.uniform([-3, -3, 0.8, 0.88, -0.12], [3, 2, 1.3, 1.15, 0.12])
    brow_lift, brow_slant = rng.uniform([-2.5, -0.15], [1.5, 0.15])
    brows = (slice(BROWS.start, BROWS.start + 5), slice(BROWS.start + 5, BROWS.stop))
    for side, eye, brow in zip((-1, 1), EYES, brows, strict=True):
        for part, tilt in ((eye, slant), (brow, brow_slant)):
            centre_x = points[part, 0].mean()
            points[part, 1] += side * tilt * (points[part, 0] - centre_x)
        points[eye] = _scaled(points[eye], (size, size * open_))
        points[eye] += np.array([side * apart, lift], np.float32)
        points[brow] += np.array([side * apart, lift + brow_lift], np.float32)


def _shape_nose(rng: np.random.Generator, points: FloatArray) -> None:
    width, length = rng.uniform([0.8, -3], [1.35, 4])
    nostrils = slice(NOSE.start + 4, NOSE.stop)
    points[nostrils] = _scaled(points[nostrils], (width, 1))
    points[NOSE, 1] += length * np.linspace(0, 1, 9).clip(0, 0.5) * 2


def _shape_mouth(rng: np.random.Generator, points: FloatArray) -> None:
    width, open_, smile, lower, fullness = rng.uniform([0.78, 0.25, -1, -2, 0.9], [1.08, 1.05, 4, 3, 1.25])
    mouth = slice(LIPS.start, INNER_LIPS.stop)
    middle = points[mouth].mean(axis=0)
    closed = (1 - open_) * 6.0  # pixels that the lower lip comes up by
    lower_lip = [LIPS.start + i for i in (7, 8, 9, 10, 11)] + [INNER_LIPS.start + i for i in (5, 6, 7)]
    points[lower_lip, 1] -= closed * np.array([0.6, 0.9, 1, 0.9, 0.6, 1, 1, 1])
    outer_lower = [LIPS.start + i for i in (8, 9, 10)]
    points[outer_lower, 1] += (fullness - 1) * 8
    sideways = np.abs(points[mouth, 0] - middle[0]) / 23
    points[mouth, 1] += smile * sideways**2 + lower
    points[mouth, 0] = middle[0] + (points[mouth, 0] - middle[0]) * width


def _shape_jaw(rng: np.random.Generator, points: FloatArray) -> None:
    width, chin, square = rng.uniform([0.94, -5, -2.5], [1.06, 6, 3])
    down = np.sin(np.linspace(0, np.pi, 17))  # 0 at the temples, 1 at the chin
    corner = np.exp(-(((np.abs(np.arange(17) - 8) - 4) / 1.5) ** 2))  # where the jaw turns
    side = np.sign(np.arange(17) - 8)
    points[JAW, 0] = _MIDLINE + (points[JAW, 0] - _MIDLINE) * (1 + (width - 1) * down) + square * corner * side
    points[JAW, 1] += chin * down**4


def _relight(rng: np.random.Generator, image: FloatArray, *, dim: bool) -> FloatArray:
    """A lamp from one side over the whole person."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, PATCH_SIZE, dtype=np.float32)] * 2)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
    towards = np.cos(angle) * (x - 0.12) + 0.5 * np.sin(angle) * (y + 0.35)
    exposure = rng.uniform(0.62, 0.74) if dim else rng.uniform(0.98, 1.1)
    light = exposure * np.exp2(strength * (np.tanh(towards * 2.5) - 0.25))
    warmth = rng.uniform(-0.10, -0.02) if dim else rng.uniform(-0.02, 0.06)
    cast = np.array([1 + warmth, 1, 1 - warmth])
    return np.asarray((image * light[..., None] * cast).clip(0, 1), np.float32)
