"""The forged region of a face: one or two smooth shapes for each stretch of a track.

Coding noise differs between samples, but a forged region keeps its place in the face. The differences of a stretch's
samples are therefore aligned by landmarks and averaged, both signed and squared. A threshold finds the region's parts.
The outline of each part maximises the likelihood of a model in which the energy outside is that of noise, and the
energy inside is larger by a constant, with a soft edge between. A Fourier series of low order keeps the outline
smooth where the colours of both faces are similar.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from facemill.masks.difference import disk
from facemill.masks.difference_noise import NoiseTable
from facemill.masks.face_difference import FACE_CELLS, FINE, GRID, FaceDifference

__all__ = ["draw_regions"]

# Lengths are in cells, given as shares of the face's longer side; tuned on composed clips, like `find_forgeries`.
STRETCH = 12  # maximum number of samples that share one region
SHARED = 0.5  # weight of the energy of the mean difference, which has less noise; the rest is mean energy
QUIET = 0.5  # minimum noise in gray levels: encoders leave none where the image does not change
REACH = 1.6  # size of the ellipse that limits a region, relative to the one in the face's box

# Parts.
NOISE_CUT = 2.3  # minimum magnitude of a forged cell, in noise levels
SEED = 1.3  # in units of that cut: cells above it represent the region's magnitude
EDGE = 0.25  # minimum magnitude, relative to nearly the largest
BRIGHTEST = 0.95  # quantile for nearly the largest
CLOSE, OPEN = 0.047 * FACE_CELLS, 0.023 * FACE_CELLS  # radii
SMALLEST_PART, MOST_PARTS = 0.25, 2  # area as a share of the largest part's

# Outline of a part: r(theta) = radius * Fourier series; prior standard deviations of the coefficients by order.
ANGLES, RADIAL_STEP = 32, 2.0  # step in cells
ORDERS = (1.0, 0.5, 0.15, 0.05)
SOFTNESS = 0.018 * FACE_CELLS  # width of the edge: scale of a logistic function
FAINTEST = 0.025  # minimum energy, as a share of the energy inside: codecs change what surrounds a forgery too
POWER = 1.5  # exponent of energy over expected energy: above 1, the outline favours strong cells
INDEPENDENT = 0.1  # share of cells whose noise is independent
NOISE_DEVIATION, LEVEL_DEVIATION = 0.7, 2.0  # prior deviations of the logarithms of noise and of the energy inside
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

Field = NDArray[np.float32]  # [GRID, GRID]
Mask = NDArray[np.uint8]  # [GRID, GRID] of 0 and 255


def draw_regions(
    measured: Sequence[FaceDifference], fields: NDArray[np.float32], forged: NDArray[np.bool_], table: NoiseTable
) -> list[Mask]:
    """Draw the region of each forged sample.

    Args:
        measured: the T measurements of a track.
        fields: float32 [T, GRID, GRID, 3], their smoothed differences.
        forged: [T], which samples are forged; the regions of the others are empty.
        table: gives the expected noise.

    Returns:
        T masks, uint8 [GRID, GRID] of 0 and 255.
    """
    masks = [np.zeros((GRID, GRID), np.uint8) for _ in measured]
    chosen = np.flatnonzero(forged)
    if not len(chosen):
        return masks
    energy = np.einsum("tijk,tijk->tij", fields, fields)
    noise = table.expected(energy[:, :: table.step, :: table.step])
    for stretch in np.array_split(chosen, -(-len(chosen) // STRETCH)):
        within = [measured[position].own & (measured[position].distance() < REACH) for position in stretch]
        moves = _to_one_place([measured[position].landmarks for position in stretch])
        moved = np.stack([_warped(fields[position], move) for position, move in zip(stretch, moves, strict=True)])
        whole, mean = np.einsum("tijk,tijk->ij", moved, moved) / len(stretch), moved.mean(axis=0)
        there = SHARED * np.einsum("ijk,ijk->ij", mean, mean) + (1 - SHARED) * whole
        mostly = np.mean([_warped(one * 1.0, move) for one, move in zip(within, moves, strict=True)], axis=0) > 0.5
        beyond = np.all([measured[position].own for position in stretch], axis=0) & ~mostly
        left = (there[beyond].sum() + 1) / (whole[beyond].sum() + 1)  # share of the noise that averaging leaves
        expected = np.asarray(cv2.resize(noise[stretch].mean(axis=0), (GRID, GRID)) * left + QUIET**2, np.float32)
        region = _draw(there, expected, mostly)
        for position, inside, move in zip(stretch, within, moves, strict=True):
            masks[position] = np.where(_warped(region, move, cv2.WARP_INVERSE_MAP) > 127, inside * np.uint8(255), 0)
    return masks


def _to_one_place(landmarks: Sequence[NDArray[np.float64] | None]) -> list[NDArray[np.float64]]:
    """Similarities [2, 3] from each sample's cells to the mean face's; the identity if landmarks are missing."""
    known = [points for points in landmarks if points is not None]
    if len(known) < len(landmarks):
        return [np.eye(2, 3)] * len(landmarks)
    points = np.stack(known) @ [1, 1j]  # [T, points]
    away = points - points.mean(axis=1, keepdims=True)
    goal = points.mean(axis=0) - points.mean()
    turns = away.conj() @ goal / np.maximum(np.square(np.abs(away)).sum(axis=1), 1)
    shifts = points.mean() - turns * points.mean(axis=1)
    return [
        np.array([[z.real, -z.imag, to.real], [z.imag, z.real, to.imag]]) for z, to in zip(turns, shifts, strict=True)
    ]


def _warped(field: NDArray[Any], move: NDArray[np.float64], flags: int = 0) -> NDArray[Any]:
    return np.asarray(cv2.warpAffine(field, move, (GRID, GRID), flags=cv2.INTER_LINEAR | flags))


def _draw(energy: Field, noise: Field, within: NDArray[np.bool_]) -> Mask:
    """Draw the parts whose energy exceeds the noise and a share of the largest energy."""
    mask = np.zeros((GRID, GRID), np.uint8)
    parts = _parts(energy, noise, within)
    places = [(np.array([x, y]), (area / np.pi) ** 0.5) for x, y, area in parts]
    y, x = np.mgrid[:GRID, :GRID]
    away = np.array([np.hypot(x - centre[0], y - centre[1]) / radius for centre, radius in places])
    for index, (centre, radius) in enumerate(places):
        nearest = within & (away[index] <= away.min(axis=0))
        outline = _outline(energy, noise, nearest.astype(np.float32), centre, radius)
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, shift=4)
    return mask


def _parts(energy: Field, noise: Field, within: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
    """Centre (x, y) and area of the largest parts, in cells."""
    magnitude = np.sqrt(cv2.GaussianBlur(energy, (0, 0), FINE)) * within
    least = NOISE_CUT * np.sqrt(noise)
    strong = magnitude[magnitude > SEED * least]
    if not strong.size:
        return []
    above = (magnitude > np.maximum(least, EDGE * np.quantile(strong, BRIGHTEST))).astype(np.uint8)
    closed = cv2.morphologyEx(above, cv2.MORPH_CLOSE, disk(CLOSE))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, disk(OPEN))
    _, _, stats, centres = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = [index for index in np.argsort(-areas)[:MOST_PARTS] if areas[index] >= SMALLEST_PART * areas.max()]
    return [(*centres[1 + index], areas[index]) for index in largest]


def _outline(
    energy: Field, noise: Field, weight: Field, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """The most likely outline of a part [ANGLES, 2], xy in cells.

    Args:
        energy, noise: measured energy, and the energy expected where nothing is forged.
        weight: 1 for cells that count, 0 for the others.
        centre: xy of the detected part, cells.
        radius: of a disk as large as the part, cells.
    """
    away = np.arange(RADIAL_STEP / 2, min(1.6 * radius + 10, GRID / 2), RADIAL_STEP)
    rays = np.stack([np.cos(THETA), np.sin(THETA)], axis=1)  # [ANGLES, 2]
    x, y = np.moveaxis(centre + away[None, :, None] * rays[:, None], 2, 0).astype(np.float32)
    there, expected, counts = (cv2.remap(field, x, y, cv2.INTER_LINEAR) for field in (energy, noise, weight))
    cells = counts * away * (RADIAL_STEP * 2 * np.pi / ANGLES * INDEPENDENT)  # [ANGLES, radii]
    level = float(there[:, away < max(0.7 * radius, RADIAL_STEP)].mean())

    def posterior(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Negative log-posterior, its gradient and Fisher information; the last parameters are noise and level."""
        reach = radius * (1 + WAVES @ parameters[:-2])
        inside = expit((reach[:, None] - away) / SOFTNESS)
        opaque, scale = inside**2, level * np.exp(LEVEL_DEVIATION * parameters[-1])
        noisy = expected * np.exp(NOISE_DEVIATION * parameters[-2])
        model = noisy + scale * (opaque + FAINTEST)
        ratio = (there / model) ** POWER
        by_reach = scale * 2 * opaque * (1 - inside) * (radius / SOFTNESS) / model  # of the model's logarithm
        by_level = scale * (opaque + FAINTEST) * LEVEL_DEVIATION / model
        by_noise = noisy * NOISE_DEVIATION / model
        slopes = np.dstack([by_reach[..., None] * WAVES[:, None], by_noise[..., None], by_level[..., None]])
        weighted = (cells[..., None] * slopes).reshape(-1, len(parameters))
        total = (cells * (np.log(model) + ratio / POWER)).sum() + 0.5 * (parameters @ parameters)
        hessian = weighted.T @ slopes.reshape(weighted.shape) + np.eye(len(parameters))
        return float(total), (1 - ratio).ravel() @ weighted + parameters, hessian

    parameters, damping = np.zeros(WAVES.shape[1] + 2), 0.01
    total, gradient, hessian = posterior(parameters)
    for _ in range(ITERATIONS):  # Levenberg-Marquardt
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
        tried = parameters - step.clip(-LONGEST_STEP, LONGEST_STEP)
        lower, *derivatives = posterior(tried)
        damping *= 0.2 if lower < total else 8
        if lower < total:
            gain, parameters, total, (gradient, hessian) = total - lower, tried, lower, derivatives
            if gain < LEAST_GAIN:
                break
    return np.asarray(centre + np.maximum(radius * (1 + WAVES @ parameters[:-2]), 1)[:, None] * rays)
