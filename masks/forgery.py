"""Who is forged, when and where: decided over the sampled frames of one track of a fake and its original.

A forgery differs from coding noise in three ways that are used here: its signed difference does not cancel when it is
smoothed at the face's scale; it is larger than the noise that the same clip shows at cells of equal texture outside
the face; and it is there in neighbouring samples too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facemill.masks.face_difference import GRID, GROWTH, FaceDifference

__all__ = ["FORGED_SCORE", "FaceForgery", "find_forgeries"]

FORGED_SCORE = 4.0
"""A face is forged where its score is above this."""
OTHER_MOMENT = 0.05  # share of pixels outside the faces that differ much: more means another moment, or another clip

FACE = GRID / GROWTH  # longer side of the face's box, cells
SMOOTH = 0.03 * FACE  # sigma that coding noise is smoothed by, before and after the magnitude is taken
BROAD = 0.08 * FACE  # sigma of the smallest region that counts as a forgery
QUIET = 0.5  # gray levels: rounding, and blending noise of lossless pairs, after smoothing
CORE = 1.2  # of the ellipse in the face's box: where a forgery is sought
REACH = 1.7  # of that ellipse: how far a mask goes
FREE = 1.75  # of that ellipse: what lies beyond shows the pair's noise
LUMA_CHROMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)  # ITU-R BT.601
TEXTURES = 8  # bins of texture that noise is measured in
NEIGHBOURS = (1.0, 0.6, 0.3)  # weight of samples at a distance of 0, 1, 2
NOISE_CUT = 2.2  # noise levels: the least magnitude of a forged cell
EDGE = 0.4  # of the region's own magnitude: where its edge is drawn
SEED = 1.4  # of the cut: every part of a mask has a cell above this
CLOSE, OPEN = 0.08 * FACE, 0.04 * FACE  # radii
SMALLEST_PART = 0.25  # of the largest

Fields = NDArray[np.float32]  # [T, GRID, GRID]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaceForgery:
    """What is known of one face of one frame of a fake.

    Attributes:
        forged: whether this face differs from the original by more than noise.
        score: greatest difference at the scale of an eye, in units of the noise expected there; `FORGED_SCORE` decides.
        reliable: false where another moment was compared, so that neither `forged` nor the mask means much.
        mask: uint8 [GRID, GRID] of 0 and 255, all 0 where nothing is forged.
        affine: [2, 3], from cells of `mask` to pixels of the frame, both counted from the centre of the first.
    """

    forged: bool
    score: float
    reliable: bool
    mask: Mask
    affine: NDArray[np.float64]

    def warp(self, affine: NDArray[np.floating], size: int) -> Mask:
        """The mask in a crop: uint8 [size, size] of 0 and 255.

        Args:
            affine: [2, 3], from pixels of the frame to pixels of the crop.
            size: side of the crop, pixels.
        """
        whole = np.vstack([self.affine, [0, 0, 1]])
        matrix = np.asarray(affine, np.float64) @ whole
        soft = cv2.warpAffine(self.mask, matrix, (size, size), flags=cv2.INTER_LINEAR)
        warped: Mask = cv2.threshold(soft, 127, 255, cv2.THRESH_BINARY)[1]
        return warped

    def box(self) -> NDArray[np.float64] | None:
        """The forged region's bounds, xyxy in pixels of the frame (edges, not centres); None where there is none."""
        if not self.mask.any():
            return None
        left, top, width, height = cv2.boundingRect(self.mask)
        corners = np.array([[left, top, 1], [left + width, top + height, 1]]) - [0.5, 0.5, 0]
        return np.asarray((corners @ self.affine.T + 0.5).ravel())

    @property
    def coverage(self) -> float:
        """Area of the mask as a multiple of the area of a square on the longer side of the face's box."""
        return float(np.count_nonzero(self.mask)) / FACE**2


def find_forgeries(track: Sequence[FaceDifference | None]) -> list[FaceForgery | None]:
    """Decide for one face of a fake, over the sampled frames in order, where and when it is forged.

    Args:
        track: measurements of one person; None where the person was not seen or a frame is missing.

    Returns:
        One verdict for each measurement, None for None.
    """
    seen = [index for index, measured in enumerate(track) if measured is not None]
    measured = [one for one in track if one is not None]
    if not measured:
        return [None] * len(track)
    smooth = _smoothed(measured)  # [T, G, G, 3]
    distance = np.stack([_distance(one) for one in measured])
    own = np.stack([one.own for one in measured])
    noise = _noise(smooth, measured, own & (distance > FREE), own & (distance < CORE))
    energy = np.stack(
        [_blur((values**2 / level).mean(axis=2), SMOOTH / 2) for values, level in zip(smooth, noise, strict=True)]
    )
    scores = [
        float(np.sqrt(_blur(one, BROAD)[inside].max(initial=0)))
        for one, inside in zip(energy, own & (distance < CORE), strict=True)
    ]
    forged = np.array(scores) > FORGED_SCORE
    supported = _with_neighbours(energy, np.array(seen), forged)
    verdicts: list[FaceForgery | None] = [None] * len(track)
    for position, (index, one) in enumerate(zip(seen, measured, strict=True)):
        allowed = own[position] & (distance[position] < REACH)
        mask = _mask(supported[position], allowed) if forged[position] else np.zeros((GRID, GRID), np.uint8)
        verdicts[index] = FaceForgery(
            forged=bool(forged[position]),
            score=scores[position],
            reliable=one.outside_share <= OTHER_MOMENT,
            mask=mask,
            affine=one.affine,
        )
    return verdicts


def _smoothed(measured: Sequence[FaceDifference]) -> NDArray[np.float32]:
    """Signed luma and chroma differences [T, G, G, 3], smoothed."""
    return np.stack([_blur(one.grid.astype(np.float32) @ LUMA_CHROMA.T, SMOOTH) for one in measured])


def _blur(field: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(field), (0, 0), sigma), np.float32)


def _distance(one: FaceDifference) -> NDArray[np.float32]:
    """Of each cell from the middle of the face's box: 1 on the ellipse that fills the box, [G, G]."""
    x1, y1, x2, y2 = one.box
    cells = (np.arange(GRID) + 0.5) * (one.side / GRID)
    x = (cells + one.left - (x1 + x2) / 2) / max((x2 - x1) / 2, 1)
    y = (cells + one.top - (y1 + y2) / 2) / max((y2 - y1) / 2, 1)
    return np.sqrt(x[None] ** 2 + y[:, None] ** 2).astype(np.float32)


def _texture(one: FaceDifference) -> NDArray[np.float32]:
    """Root mean square slope of the real's luma about each cell, gray levels per cell, [G, G]."""
    luma = one.luma.astype(np.float32)
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.sqrt(_blur(across * across + down * down, 1.5 * SMOOTH))


def _noise(
    smooth: NDArray[np.float32], measured: Sequence[FaceDifference], free: NDArray[np.bool_], core: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The noise to expect of each cell and channel, as a variance [T, G, G, 3]: that of free cells of equal texture."""
    texture = np.stack([_texture(one) for one in measured])
    if np.count_nonzero(free) < 50 * TEXTURES:
        free = ~core
    edges = np.quantile(texture[free], np.linspace(0, 1, TEXTURES + 1))
    bins = np.searchsorted(edges[1:-1], texture[free])
    values = smooth[free]
    centres, levels = [], []
    for one in range(TEXTURES):
        chosen = values[bins == one]
        if len(chosen):
            centres.append(float(texture[free][bins == one].mean()))
            levels.append((chosen**2).mean(axis=0))
    table = np.maximum.accumulate(np.array(levels), axis=0)  # noise does not fall with texture
    return np.stack(
        [np.interp(texture, centres, table[:, channel]) + QUIET**2 for channel in range(3)], axis=-1
    ).astype(np.float32)


def _with_neighbours(energy: Fields, seen: NDArray[np.intp], forged: NDArray[np.bool_]) -> Fields:
    """Each sample's energy averaged with that of forged samples near in time."""
    result = np.empty_like(energy)
    for position in range(len(energy)):
        distances = np.abs(seen - seen[position])
        near = [(k, NEIGHBOURS[d]) for k, d in enumerate(distances) if d < len(NEIGHBOURS) and (forged[k] or d == 0)]
        total = sum(weight for _, weight in near)
        result[position] = sum(energy[k] * np.float32(weight / total) for k, weight in near)
    return result


def _mask(energy: NDArray[np.float32], allowed: NDArray[np.bool_]) -> Mask:
    """The forged region of one sample: uint8 [G, G] of 0 and 255."""
    magnitude = np.sqrt(_blur(energy, SMOOTH / 2))
    magnitude[~allowed] = 0
    strong = magnitude[magnitude > NOISE_CUT * SEED]
    level = float(np.median(strong)) if len(strong) else 0.0
    cut = max(NOISE_CUT, EDGE * level)
    region = (magnitude > cut).astype(np.uint8)
    labels, count = ndimage.label(region)
    seeded = np.unique(labels[magnitude > SEED * cut])
    region = np.isin(labels, seeded[seeded > 0]).astype(np.uint8)
    region = cv2.morphologyEx(region, cv2.MORPH_CLOSE, _disk(CLOSE))
    region = cv2.morphologyEx(region, cv2.MORPH_OPEN, _disk(OPEN))
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(contour) for contour in contours]
    mask = np.zeros((GRID, GRID), np.uint8)
    for contour, area in zip(contours, areas, strict=True):
        if area >= SMALLEST_PART * max(areas):
            cv2.fillConvexPoly(mask, cv2.convexHull(contour), 255)
    mask[~allowed] = 0
    return mask


def _disk(radius: float) -> Mask:
    whole = round(radius)
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
