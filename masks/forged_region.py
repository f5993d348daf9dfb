"""The region of a face that was forged: one smooth shape, or two, for each stretch of a track.

Coding noise differs from sample to sample, a forged region keeps its place in the face: the differences of a stretch's
samples are brought to one place by landmarks and averaged, as they are and squared. Thresholds find the region's
parts; the outline of each is the most likely one if energies are those of noise outside and, beyond a soft edge, of
one more constant inside. Low orders of a Fourier series keep it smooth where the colours of both faces happen to be
alike.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from facemill.masks.difference_noise import NoiseTable
from facemill.masks.face_difference import FACE_CELLS, FINE, GRID, FaceDifference

__all__ = ["draw_regions"]

# Lengths are shares of the face's longer side; chosen on the composed clips of `find_forgeries`.
STRETCH = 8  # samples, at most, that share one region
SHARED = 0.5  # weight of the energy of the mean difference, which is freer of noise; the rest is the mean energy's
QUIET = 0.5  # gray levels: noise never counts as less; encoders leave none where the picture stands still
REACH = 1.6  # of the ellipse in the face's box: how far a region goes

# Parts.
NOISE_CUT = 2.3  # noise levels: the least magnitude of a forged cell
SEED = 1.3  # of that cut: what is above counts as the region's magnitudes
EDGES = (0.25, 0.45)  # of nearly the greatest of them: the least magnitude of a forged cell; the likelier is taken
BRIGHTEST = 0.95  # quantile: nearly the greatest
CLOSE, OPEN = 0.047 * FACE_CELLS, 0.023 * FACE_CELLS  # radii
SMALLEST_PART, MOST_PARTS = 0.25, 2  # area as a share of the largest part's

# Outline of a part: r(theta) = radius * Fourier series, prior deviations of whose coefficients are by order.
ANGLES, RADIAL_STEP = 32, 2.0  # step in cells
ORDERS = (1.0, 0.5, 0.15, 0.05)
SOFTNESS = 0.018 * FACE_CELLS  # of the edge: scale of a logistic function
FAINTEST = 0.04  # of the energy inside: less is not told from noise
POWER = 1.5  # of energies in units of those expected: above 1, an outline encloses the strong rather than all
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
    """Draw the forged region of each sample that is forged.

    Args:
        measured: the T measurements of a track.
        fields: float32 [T, GRID, GRID, 3], their smoothed differences.
        forged: [T], whether it is forged; the regions of the others are empty.
        table: knows what noise to expect.

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
        left = (there[beyond].sum() + 1) / (whole[beyond].sum() + 1)  # of the noise
        expected = np.asarray(cv2.resize(noise[stretch].mean(axis=0), (GRID, GRID)) * left + QUIET**2, np.float32)
        drawn = [_draw(there, expected, mostly, edge) for edge in EDGES]
        region = min(drawn, key=partial(_misfit, there, expected, mostly))
        for position, inside, move in zip(stretch, within, moves, strict=True):
            masks[position] = np.where(_warped(region, move, cv2.WARP_INVERSE_MAP) > 127, inside * np.uint8(255), 0)
    return masks


def _to_one_place(landmarks: Sequence[NDArray[np.float64] | None]) -> list[NDArray[np.float64]]:
    """Similarities [2, 3] from each sample's cells to those of the mean face; no move without landmarks."""
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


def _misfit(energy: Field, noise: Field, within: NDArray[np.bool_], mask: Mask) -> float:
    """Negative logarithm of the likelihood of a region."""
    inside, outside = within & (mask > 0), within & (mask == 0)
    if not inside.any() or not outside.any():
        return np.inf
    level = energy[inside].mean()
    model = np.where(inside, level, noise * (energy[outside].mean() / noise[outside].mean()) + FAINTEST * level)
    return float((np.log(model) + (energy / model) ** POWER / POWER)[within].sum())


def _draw(energy: Field, noise: Field, within: NDArray[np.bool_], edge: float) -> Mask:
    """The region where there is more energy than noise and than a share of the greatest, within bounds."""
    mask = np.zeros((GRID, GRID), np.uint8)
    parts = _parts(energy, noise, within, edge)
    places = [(np.array([x, y]), (area / np.pi) ** 0.5) for x, y, area in parts]
    y, x = np.mgrid[:GRID, :GRID]
    away = np.array([np.hypot(x - centre[0], y - centre[1]) / radius for centre, radius in places])
    for index, (centre, radius) in enumerate(places):
        nearest = within & (away[index] <= away.min(axis=0))
        outline = _outline(energy, noise, nearest.astype(np.float32), centre, radius)
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, shift=4)
    return mask


def _parts(energy: Field, noise: Field, within: NDArray[np.bool_], edge: float) -> list[tuple[float, float, float]]:
    """Centre (x, y) and area of the largest parts that stand out, cells."""
    magnitude = np.sqrt(cv2.GaussianBlur(energy, (0, 0), FINE)) * within
    least = NOISE_CUT * np.sqrt(noise)
    strong = magnitude[magnitude > SEED * least]
    if not strong.size:
        return []
    above = (magnitude > np.maximum(least, edge * np.quantile(strong, BRIGHTEST))).astype(np.uint8)
    closed = cv2.morphologyEx(above, cv2.MORPH_CLOSE, _disk(CLOSE))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _disk(OPEN))
    _, _, stats, centres = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = [index for index in np.argsort(-areas)[:MOST_PARTS] if areas[index] >= SMALLEST_PART * areas.max()]
    return [(*centres[1 + index], areas[index]) for index in largest]


def _outline(
    energy: Field, noise: Field, weight: Field, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """The most likely outline of a part [ANGLES, 2], xy in cells.

    Args:
        energy, noise: what there is and what is expected where nothing is forged.
        weight: 1 for cells that count, 0 for the others.
        centre: xy, of the part as it was found, cells.
        radius: of a disk as large as the part, cells.
    """
    away = np.arange(RADIAL_STEP / 2, min(1.6 * radius + 10, GRID / 2), RADIAL_STEP)
    rays = np.stack([np.cos(THETA), np.sin(THETA)], axis=1)  # [ANGLES, 2]
    x, y = np.moveaxis(centre + away[None, :, None] * rays[:, None], 2, 0).astype(np.float32)
    there, expected, counts = (cv2.remap(field, x, y, cv2.INTER_LINEAR) for field in (energy, noise, weight))
    cells = counts * away * (RADIAL_STEP * 2 * np.pi / ANGLES * INDEPENDENT)  # [ANGLES, radii]
    level = float(there[:, away < max(0.7 * radius, RADIAL_STEP)].mean())

    def posterior(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Its negative logarithm, with gradient and (Fisher's) Hessian; the last are noise and level."""
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
    for _ in range(ITERATIONS):  # of Levenberg and Marquardt
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
        tried = parameters - step.clip(-LONGEST_STEP, LONGEST_STEP)
        lower, *derivatives = posterior(tried)
        damping *= 0.2 if lower < total else 8
        if lower < total:
            gain, parameters, total, (gradient, hessian) = total - lower, tried, lower, derivatives
            if gain < LEAST_GAIN:
                break
    return np.asarray(centre + np.maximum(radius * (1 + WAVES @ parameters[:-2]), 1)[:, None] * rays)


def _disk(radius: float) -> Mask:
    """Every cell within `radius` of the centre."""
    whole = max(int(radius + 0.5), 0)
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return np.asarray(x * x + y * y <= max(radius, 0.5) ** 2, np.uint8)
