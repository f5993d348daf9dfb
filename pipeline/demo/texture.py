"""Textures out of noise: cloth, hair and the walls behind people."""

import cv2
import numpy as np

from facemill.pipeline.demo.portrait import FloatArray

__all__ = ["background", "smooth_noise"]


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> FloatArray:
    """Noise of zero mean and unit spread whose grains are `cell` = (width, height) pixels.

    Args:
        size: (width, height).

    Returns:
        float32 [height, width].
    """
    width, height = size
    grains = (max(2, round(width / cell[0])), max(2, round(height / cell[1])))
    noise = rng.standard_normal((grains[1], grains[0]), np.float32)
    noise = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6), np.float32)


def background(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A wall, shaded from one side, mottled, sometimes with out-of-focus lights or shelves.

    Returns:
        float32 RGB in 0..1, [height, width, 3].
    """
    width, height = size
    wall = _colour(rng, (0.15, 0.75), 0.5)
    x, y = np.meshgrid(np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32))
    angle = rng.uniform(0, 2 * np.pi)
    shade = 1 + rng.uniform(0.1, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    mottle = sum(smooth_noise(rng, size, (cell, cell)) * cell / 2500 for cell in (height / 3, height / 12, height / 60))
    image = (shade + mottle)[..., None] * wall
    painter = (_lights, _shelves, None)[rng.integers(3)]
    if painter is not None:
        image = cv2.GaussianBlur(painter(rng, image.astype(np.float32)), (0, 0), height / 70)
    grain = smooth_noise(rng, size, (1.5, 1.5)) * 0.008
    return np.asarray((image + grain[..., None]).clip(0, 1), np.float32)


def _colour(rng: np.random.Generator, brightness: tuple[float, float], saturation: float) -> FloatArray:
    """A random RGB colour, float32 [3]."""
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0, saturation), rng.uniform(*brightness)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def _lights(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    height, width = image.shape[:2]
    for _ in range(rng.integers(8, 18)):
        disc = np.zeros((height, width), np.float32)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(disc, centre, int(height * rng.uniform(0.02, 0.07)), 1.0, -1, cv2.LINE_8)
        image = image + disc[..., None] * _colour(rng, (0.2, 0.45), 0.6)
    return image


def _shelves(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    height, width = image.shape[:2]
    image = image.copy()
    row = height // int(rng.integers(3, 5))
    for top in range(0, height, row):
        left = 0
        while left < width:
            right = left + int(height * rng.uniform(0.02, 0.07))
            head = top + int(row * rng.uniform(0.08, 0.35))
            image[head : top + row - height // 40, left:right] = _colour(rng, (0.15, 0.6), 0.6)
            left = right
        image[top + row - height // 40 : top + row] = _colour(rng, (0.2, 0.4), 0.4)
    return image
