"""The most likely outline of a part of a forged region.

In the model, the energy outside is that of noise, and the energy inside is larger, by a constant that differs a little
by direction; the edge between is narrow, or wide if that is much more likely. A Fourier series of low order keeps the
outline smooth where the colours of both faces are similar. A part on the face's axis is nearly symmetric, and two parts
that lie symmetrically have mirrored outlines.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from facemill.masks.face_difference import FACE_CELLS, GRID

__all__ = ["FaceAxis", "Part", "fit_outlines"]

# Tuned on composed clips, of other people than those of the benchmark. Lengths are in cells.
# r(theta) = radius * Fourier series; prior standard deviations of the coefficients by order.
ANGLES, RADIAL_STEP = 32, 2.0  # step in cells
ORDERS = (1.0, 0.12, 0.24, 0.03)
SYMMETRY = 0.1  # prior deviation of what is not symmetric about the axis, relative to what is
SOFTNESS = 0.011 * FACE_CELLS  # width of a narrow edge: scale of a logistic function
WIDE, UNUSUAL = 0.055, 10.0  # softness of a wide edge, in radii, and the gain, as `LEAST_GAIN`, for which it is taken
FAINTEST = 0.042  # minimum energy, as a share of the energy inside: codecs change what surrounds a forgery too
WIDENED = 0.9  # distance from where half is forged to the outline: smoothing, codecs and drawing widen a region
POWER = 1.35  # exponent of energy over expected energy: above 1, the outline favours strong cells
INDEPENDENT = 0.08  # share of cells whose noise is independent
NOISE_DEVIATION, LEVEL_DEVIATION = 1.1, 0.6  # prior deviations of the logarithms of noise and of the energy inside
TILT = 1.2  # the same for how the latter differs by direction, times the radius in faces to the fourth power
ITERATIONS, LONGEST_STEP, LEAST_GAIN = 20, 0.5, 0.02  # step in prior deviations, gain in logarithms of likelihood

THETA = np.arange(ANGLES) * (2 * np.pi / ANGLES)
WAVES = np.stack(  # [ANGLES, 2 * orders - 1], each scaled by its prior deviation
    [
        deviation * wave(order * THETA)
        for order, deviation in enumerate(ORDERS)
        for wave in ((np.cos, np.sin) if order else (np.cos,))
    ],
    axis=1,
)
TILTS = np.stack([wave(order * THETA) for order in (1, 2) for wave in (np.cos, np.sin)], axis=1)
NEARLY_SYMMETRIC = np.array([1.0] + [1.0, SYMMETRY] * (len(ORDERS) - 1))

Field = NDArray[np.float32]  # [GRID, GRID]
Point = NDArray[np.float64]  # xy in cells


class FaceAxis(NamedTuple):
    """The line from between the eyes to the middle of the mouth, about which a face is symmetric.

    Attributes:
        origin: xy between the eyes, in cells.
        down: unit vector towards the mouth.
    """

    origin: Point
    down: Point

    @classmethod
    def of(cls, landmarks: NDArray[np.float64]) -> "FaceAxis":
        """The axis of a face with five landmarks [5, 2]: eyes, nose, corners of the mouth."""
        origin = landmarks[:2].mean(axis=0)
        down = landmarks[3:].mean(axis=0) - origin
        return cls(origin, down / max(float(np.hypot(*down)), 1e-6))

    def aside(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Signed distances of points [..., 2] from the axis, in cells."""
        return np.asarray((points - self.origin) @ self._across)

    def mirrored(self, point: Point, share: float = 1.0) -> Point:
        """The point moved towards its mirror image: by all of the way, or half to the axis."""
        return np.asarray(point - 2 * share * self.aside(point) * self._across)

    @property
    def _across(self) -> Point:
        return np.array([self.down[1], -self.down[0]])


class Part(NamedTuple):
    """A part of a region: its centre, xy in cells, and the radius in cells of a disk as large."""

    centre: Point
    radius: float


def fit_outlines(
    energy: Field, noise: Field, weights: Sequence[Field], parts: Sequence[Part], axis: FaceAxis | None
) -> list[NDArray[np.float64]]:
    """The most likely outlines of one part, or of two that are mirror images of each other.

    Args:
        energy, noise: measured energy, and the energy expected where nothing is forged.
        weights: of each part, 1 for cells that count, 0 for the others.
        parts: as detected; the radius of mirror images is the same.
        axis: of the face; if it is given, one part is nearly symmetric about it.

    Returns:
        For each part float64 [ANGLES, 2], xy in cells.
    """
    radius = parts[0].radius
    start = 0.0 if axis is None else float(np.arctan2(axis.down[1], axis.down[0]))
    waves = WAVES * NEARLY_SYMMETRIC if axis is not None and len(parts) == 1 else WAVES
    turns = [start + turn * THETA for turn in (1, -1)[: len(parts)]]
    rays = [np.stack([np.cos(turn), np.sin(turn)], axis=1) for turn in turns]  # of each part [ANGLES, 2]
    away = np.arange(RADIAL_STEP / 2, min(1.6 * radius + 10, GRID / 2), RADIAL_STEP)
    sampled = []
    for part, weight, ray in zip(parts, weights, rays, strict=True):
        x, y = np.moveaxis(part.centre + away[None, :, None] * ray[:, None], 2, 0).astype(np.float32)
        sampled.append([cv2.remap(field, x, y, cv2.INTER_LINEAR) for field in (energy, noise, weight)])
    there, expected, counts = np.concatenate(sampled, axis=1)  # [parts * ANGLES, radii]
    cells = counts * away * (RADIAL_STEP * 2 * np.pi / ANGLES * INDEPENDENT)
    shape = _most_likely(there, expected, cells, away, radius, np.tile(waves, (len(parts), 1)))
    reach = np.maximum(radius * (1 + waves @ shape) - WIDENED, 1)
    return [np.asarray(part.centre + reach[:, None] * ray) for part, ray in zip(parts, rays, strict=True)]


def _most_likely(
    there: NDArray[np.float32],
    expected: NDArray[np.float32],
    cells: NDArray[np.float64],
    away: NDArray[np.float64],
    radius: float,
    waves: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients of `waves` of the most likely outline.

    Args:
        there, expected, cells: [rays, radii], energies and how many independent cells each stands for.
        away: [radii], in cells.
        waves: [rays, coefficients].
    """
    level = float(there[:, away < max(0.7 * radius, RADIAL_STEP)].mean())
    tilts = TILT * (radius / FACE_CELLS) ** 4 * TILTS
    levels = np.tile(np.insert(tilts, 0, LEVEL_DEVIATION, axis=1), (len(waves) // ANGLES, 1))
    shapes = waves.shape[1]

    def posterior(
        parameters: NDArray[np.float64], softness: float
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Negative log-posterior, gradient and Fisher information; after the shape's come those of noise and level."""
        noisier, stronger = np.exp(NOISE_DEVIATION * parameters[shapes]), np.exp(levels @ parameters[shapes + 1 :])
        inside = expit(((radius * (1 + waves @ parameters[:shapes]))[:, None] - away) / softness)
        opaque, scale, noisy = inside**2, level * stronger[:, None], expected * noisier
        model = noisy + scale * (opaque + FAINTEST)
        ratio = (there / model) ** POWER
        by_reach = scale * 2 * opaque * (1 - inside) * (radius / softness) / model  # of the model's logarithm
        by_level = (1 - noisy / model)[..., None] * levels[:, None]
        slopes = np.dstack([by_reach[..., None] * waves[:, None], NOISE_DEVIATION * noisy / model, by_level])
        weighted = (cells[..., None] * slopes).reshape(-1, len(parameters))
        total = (cells * (np.log(model) + ratio / POWER)).sum() + 0.5 * (parameters @ parameters)
        hessian = weighted.T @ slopes.reshape(weighted.shape) + np.eye(len(parameters))
        return float(total), (1 - ratio).ravel() @ weighted + parameters, hessian

    def fitted(parameters: NDArray[np.float64], softness: float) -> tuple[float, NDArray[np.float64]]:
        """Negative log-posterior and parameters."""
        damping = 0.01
        total, gradient, hessian = posterior(parameters, softness)
        for _ in range(ITERATIONS):  # Levenberg-Marquardt
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            tried = parameters - step.clip(-LONGEST_STEP, LONGEST_STEP)
            lower, *derivatives = posterior(tried, softness)
            damping *= 0.2 if lower < total else 8
            if lower < total:
                gain, parameters, total, (gradient, hessian) = total - lower, tried, lower, derivatives
                if gain < LEAST_GAIN:
                    break
        return total, parameters

    total, parameters = fitted(np.zeros(shapes + 1 + levels.shape[1]), SOFTNESS)
    if WIDE * radius > SOFTNESS:
        other, wide = fitted(parameters, WIDE * radius)
        parameters = wide if other < total - UNUSUAL else parameters
    return parameters[:shapes]
