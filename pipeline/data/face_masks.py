"""Soft masks of the shapes in which forgeries replace parts of a face, placed by five landmarks or by 68."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["place_masks", "sample_at", "similarities"]

# Units: half of the distance of the eyes, origin between them; x to the right, y down. Proportions of an adult's face.
_POINTS = ((-1, 0), (1, 0), (0, 1.14), (-0.83, 2.31), (0.83, 2.31))
_JAW = ((2.1, 0.6), (1.95, 1.5), (1.65, 2.4), (1.2, 3.15), (0.6, 3.65), (0, 3.8))
_TEMPLES = ((2.15, -0.3), (1.9, -0.8), (1.2, -1.1))
_SHAPES = (
    (*_JAW, *_TEMPLES),
    (*_JAW, *_TEMPLES, (1.75, -1.6), (0.9, -2.1), (0, -2.25)),  # with the forehead
    ((1.7, -0.8), (1.75, 0.3), (1.35, 2.2), (0.8, 2.95), (0, 3.1)),  # from the brows to below the mouth
    ((1.7, 0.6), *_JAW[1:]),  # below the eyes
    ((1.9, -0.8), (2, -0.1), (1.8, 0.6), (1.2, 0.9), (0.8, -1.1)),  # around the eyes
    ((0, 1.5), (0.8, 1.65), (1.35, 2.3), (0.8, 3), (0, 3.15)),  # around the mouth
)
"""Right halves of convex outlines, which are symmetric."""
_SHARES = (0.3, 0.25, 0.15, 0.1, 0.1, 0.1)
"""How often each is drawn: most of the papers' hulls are of whole faces."""
_INNER, _BROWS = [*range(17, 68)], [*range(17, 27)]
_PARTS = (
    [*range(68)],
    [*range(68)],  # and the brows' points raised to the forehead
    _INNER,
    [*range(1, 16), *range(28, 36), *range(48, 68)],
    [*_BROWS, *range(27, 30), *range(36, 48), 0, 16],
    [*range(31, 36), *range(48, 68)],
)
"""The points of iBUG's 68 whose convex hulls are the same shapes."""
_FOREHEAD = 0.3  # how far brows are raised, in heights of the face from its chin to the brows
_CENTRE, _REACH = (0.0, 0.8), 3.5  # of the square that templates show
_TEMPLATE_SIDE = 224
_SIDE = 128
"""Side at which masks are made: they are smooth, and their cost does not depend on the size of crops."""
_WAVES = 12
_RADIUS = 12  # of the blurs, pixels of `_SIDE`


def place_masks(
    landmarks: Tensor, moves: Tensor, side: int, rng: np.random.Generator, dense: Tensor | None = None
) -> Tensor:
    """Make a soft mask of a random shape on each face, float [N, 1, side, side] in 0..1.

    A convex outline is fitted to the landmarks, moved, scaled, deformed elastically, and smoothed by two Gaussian
    blurs of random widths (Shiohara and Yamasaki, 2022); after the first, only the inside is kept. All zero where the
    shape lies outside the crop.

    Args:
        landmarks: [N, 5, 2], pixels of the crops.
        moves: [N, 2, 3], maps a crop's points to those whose mask they get.
        dense: [N, 68, 2], in iBUG's order: outlines are then the hulls of these points (Li et al., 2020), or of parts.
    """
    count, device = len(landmarks), landmarks.device

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, *shape)).astype(np.float32)).to(
            device, non_blocking=True
        )

    fit = torch.from_numpy(np.linalg.pinv(np.c_[_POINTS, np.ones(5)]).astype(np.float32))
    onto = fit.to(device, non_blocking=True) @ landmarks  # [N, 3, 2], template -> crop, by least squares
    waves = 0.015 * side * drawn(-1, 1, 2, _WAVES, _WAVES)
    (a, b), (c, d) = (row.unbind(-1) for row in onto[:, :2].unbind(1))  # inverted by hand: LAPACK's waits for the GPU
    inverse = torch.stack([d, -b, -c, a], -1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
    scale = drawn(0.9, 1.15, 1, 2) / _REACH
    grid = _grid(waves, moves, onto[:, 2], inverse * scale, scale, side)
    chosen = rng.choice(len(_SHAPES), count, p=_SHARES)
    templates = _templates()[chosen] if dense is None else _hulls(dense, onto, chosen)
    shapes = torch.from_numpy(templates).to(device, non_blocking=True)
    masks = F.grid_sample(shapes[:, None].float() / 255, grid.nan_to_num(9), align_corners=False)
    masks = (_largest_1(_blur(masks, drawn(0.7, 2.5))) > 0.999).float()
    masks = _largest_1(_blur(masks, drawn(0.7, 4)))
    return F.interpolate(masks, (side, side), mode="bilinear", align_corners=False).clamp_(0, 1)


def _grid(waves: Tensor, moves: Tensor, origin: Tensor, inverse: Tensor, scale: Tensor, side: int) -> Tensor:
    """Where in its template each point of a mask lies, [N, _SIDE, _SIDE, 2]: moved, deformed, and taken back.

    These coordinates are linear in the numbers of the waves, and in x, y and 1: two products of small matrices.

    Args:
        waves: [N, 2, _WAVES, _WAVES], pixels, interpolated bicubically.
        origin: [N, 2], the template's in the crop.
        inverse: [N, 2, 2], from there to the template; includes `scale` [N, 1, 2].
    """
    core = F.pad(torch.einsum("nihw,nij->njhw", waves, inverse), (0, 2, 0, 2))
    across, down = (moves[:, :, :2].mT @ inverse).unbind(1)  # [N, 2] each: steps for a pixel of x and y
    centre = torch.stack([waves.new_full((), value) for value in _CENTRE])
    core[:, :, -1, -2], core[:, :, -2, -1] = across, down
    core[:, :, -1, -1] = ((moves[:, None, :, 2] - origin[:, None]) @ inverse - centre * scale)[:, 0]
    weights = F.interpolate(torch.eye(_WAVES, device=waves.device)[None, None], (_SIDE, _WAVES), mode="bicubic")[0, 0]
    places = (torch.arange(_SIDE, device=waves.device) + 0.5) * (side / _SIDE)
    basis = torch.cat([weights, places[:, None], torch.ones_like(places)[:, None]], 1)
    return (basis @ core @ basis.T).permute(0, 2, 3, 1)


def similarities(points: Tensor, others: Tensor) -> Tensor:
    """The similarities, [N, 2, 3], that map points [N, K, 2] to other points [N, K, 2] by least squares."""
    centre, target = points.mean(1, keepdim=True), others.mean(1, keepdim=True)
    z, w = (torch.view_as_complex(x.contiguous()) for x in (points - centre, others - target))
    factor = (z.conj() * w).sum(1) / z.abs().square().sum(1).clamp_min(1e-6)
    cos, sin = factor.real, factor.imag
    linear = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
    return torch.cat([linear, (target - centre @ linear.mT).mT], 2)


def sample_at(images: Tensor, moves: Tensor, box: tuple[slice, slice] = (slice(None), slice(None))) -> Tensor:
    """Images [N, C, S, S] that show at each point what is in the given ones at the moved point; edges are repeated.

    Args:
        moves: [N, 2, 3], of pixels.
        box: the rows and columns to return.
    """
    side = images.shape[-1]
    # In units of half a side from the centre, as PyTorch counts.
    shift = moves[:, :, :2].sum(2) + moves[:, :, 2] * (2 / side) - 1  # [N, 2]
    places = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    across, down = (places[:, None] * moves[:, None, :, axis] for axis in (0, 1))  # [N, side, 2]
    grid = across[:, None, box[1]] + (down + shift[:, None])[:, box[0], None]
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@lru_cache(maxsize=1)
def _templates() -> NDArray[np.uint8]:
    """The filled outlines, [shapes, side, side], 0 or 255."""
    drawn = []
    for half in _SHAPES:
        outline = np.array([(sign * x, y) for x, y in half for sign in (-1, 1)])
        pixels = ((outline - _CENTRE) / _REACH + 1) * (_TEMPLATE_SIDE / 2)
        hull = cv2.convexHull(np.rint(pixels).astype(np.int32))
        drawn.append(cv2.fillConvexPoly(np.zeros((_TEMPLATE_SIDE, _TEMPLATE_SIDE), np.uint8), hull, 255))
    return np.stack(drawn)


def _hulls(dense: Tensor, onto: Tensor, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Filled hulls of each face's own points, as templates: moved to where `onto` [N, 3, 2] moves templates from."""
    points, fits = dense.double().cpu().numpy(), onto.double().cpu().numpy()
    drawn = np.zeros((len(points), _TEMPLATE_SIDE, _TEMPLATE_SIDE), np.uint8)
    for image, face, fit, shape in zip(drawn, points, fits, chosen, strict=True):
        outline = face[_PARTS[shape]]
        if shape == 1:
            outline = np.concatenate([outline, face[_BROWS] + _FOREHEAD * (face[_BROWS].mean(0) - face[8])])
        try:
            outline = np.linalg.solve(fit[:2].T, (outline - fit[2]).T).T
        except np.linalg.LinAlgError:  # five points on a line: no face, and no mask of it
            continue
        pixels = ((outline - _CENTRE) / _REACH + 1) * (_TEMPLATE_SIDE / 2)
        cv2.fillConvexPoly(image, cv2.convexHull(np.rint(pixels.clip(-1e4, 1e4)).astype(np.int32)), 255)
    return drawn


def _blur(masks: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each mask [N, 1, h, w] by its own sigma [N]."""
    steps = torch.arange(-_RADIUS, _RADIUS + 1, device=masks.device)
    weights = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True))[:, None]  # [N, 1, taps]
    padded = F.pad(masks.transpose(0, 1), (_RADIUS,) * 4, mode="replicate")
    across = F.conv2d(padded, weights[:, :, None], groups=len(masks))
    return F.conv2d(across, weights[..., None], groups=len(masks)).transpose(0, 1)


def _largest_1(masks: Tensor) -> Tensor:
    return masks / masks.amax((2, 3), keepdim=True).clamp_min(1e-6)
