"""Cuts between shots, detected from thumbnails of all frames of a video."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["find_cuts"]

GRID = 24
"""Longer side of the images used for a first comparison of frames, in pixels."""
PLAIN = 3.0
"""Standard deviation, in gray levels, below which a frame is blank (black, white) and fits any shot."""
ALIKE = 0.8
"""Correlation at or above which two frames show one shot, without a closer comparison."""
FOUND = 0.6
"""Minimum correlation at which a part of one frame is found anywhere in another."""
MOVED = 0.7
"""The same for consecutive frames: parts of a panning, zooming or shaking shot correlate by more than 0.8, portraits in
two shots often by 0.65."""
FLASH = 6
"""Maximum length, in frames, of an interruption of a shot by a flash or a damaged frame."""
DISSOLVES = (6, 10, 16, 24)
"""Half lengths of dissolves, in frames."""
BLEND, UNLIKE = 0.68, 0.5
"""Minimum share of a frame's variance explained as a blend of two others, which correlate less than `UNLIKE`."""

ZOOMS = (1.0, 1.15, 1.33, 1.6)
"""Relative sizes at which the ends of a dissolve are compared."""
PAN = 3
"""Number of frames over which a pan is distinguished from a dissolve."""

Frames = NDArray[np.float32]


def find_cuts(thumbnails: NDArray[np.uint8]) -> list[int]:
    """First frame of every shot except the first.

    Hard cuts and dissolves are cuts (of a dissolve, its middle); flashes, pans, zooms, shaking cameras and fades to
    black that lead back to the same shot are not.

    Args:
        thumbnails: brightness of all decoded frames in display order [N, h, w], the longer side 64 to 96 pixels.
    """
    if len(thumbnails) < 2:
        return []
    small, norms = _small(thumbnails)
    visible = np.flatnonzero(norms >= PLAIN)  # numbers of the frames that show something
    hard = _hard_cuts(thumbnails, small, visible)
    soft = [
        middle
        for low, high in pairwise([0, *hard, len(thumbnails)])
        for middle in _dissolves(thumbnails, small, norms, low, high)
    ]
    return sorted({*hard, *soft})


def _small(thumbnails: NDArray[np.uint8]) -> tuple[Frames, NDArray[np.float32]]:
    """Zero-mean coarse images [N, d] and their standard deviations [N]."""
    height, width = thumbnails.shape[1:]
    scale = GRID / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    coarse = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in thumbnails])
    flat = coarse.reshape(len(coarse), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat, flat.std(axis=1)


def _correlation(a: Frames, b: Frames) -> NDArray[np.float32]:
    """Correlation of each image [N, d] with its partner, -1..1 [N]."""
    product = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray((a * b).sum(axis=1) / np.maximum(product, 1e-6))


def _hard_cuts(thumbnails: NDArray[np.uint8], small: Frames, visible: NDArray[np.intp]) -> list[int]:
    cuts: list[int] = []
    if not len(visible):
        return cuts
    likeness = _correlation(small[visible[:-1]], small[visible[1:]])
    position = 0
    for candidate in np.flatnonzero(likeness < ALIKE):
        if candidate < position:
            continue
        # After a flash of a few frames, the previous scene returns.
        before = visible[max(candidate - FLASH, 0) : candidate + 1]
        after = visible[candidate + 1 : candidate + 2 + FLASH]
        back = next(
            (
                step
                for step, frame in enumerate(after)
                if _correlation(small[before], small[[frame]]).max() >= ALIKE
                # What moved is sought only where an interruption ends: among many frames some match by chance.
                or (
                    likeness[candidate + step] < ALIKE
                    and _displaced(thumbnails[before[-1]], thumbnails[frame], MOVED)[0] >= MOVED
                )
            ),
            None,
        )
        if back is None:
            cuts.append(int(after[0]))
        position = int(candidate) + 1 + (back or 0)
    return cuts


def _displaced(
    first: NDArray[np.uint8], second: NDArray[np.uint8], enough: float = 1.0
) -> tuple[float, NDArray[np.float64]]:
    """Best correlation of a part of the second thumbnail with the first, or `enough` of it; its displacement (x, y)."""
    field, moved = _details(first), _details(second)
    height, width = moved.shape
    tall, wide = round(height * 0.6), round(width * 0.6)
    best, shift = -1.0, np.zeros(2)
    for top in (0, (height - tall) // 2, height - tall):
        for left in (0, (width - wide) // 2, width - wide):
            part = moved[top : top + tall, left : left + wide]
            if part.std() > PLAIN:
                _, likeness, _, place = cv2.minMaxLoc(cv2.matchTemplate(field, part, cv2.TM_CCOEFF_NORMED))
                if likeness > best:
                    best, shift = float(likeness), np.subtract(place, (left, top)).astype(np.float64)
                if best >= enough:
                    return best, shift
    return best, shift


def _zooms(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Whether the second thumbnail shows the first one's scene at equal or larger size."""
    height, width = first.shape
    for zoom in ZOOMS:
        top, left = (round(side * (1 - 1 / zoom) / 2) for side in (height, width))
        centre = cv2.resize(first[top : height - top, left : width - left], (width, height))
        if _displaced(centre, second, FOUND)[0] >= FOUND:
            return True
    return False


def _pans(thumbnails: NDArray[np.uint8], middle: int) -> bool:
    """Whether the content at a frame enters from one side and leaves at the other."""
    (likeness, coming), (other, going) = (_displaced(thumbnails[middle + k], thumbnails[middle]) for k in (-PAN, PAN))
    steps = np.linalg.norm([coming, going], axis=1)
    return bool(min(likeness, other) > FOUND and coming @ going < 0 and steps.min() >= 2)


def _details(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Remove a thumbnail's coarse brightness, which is similar in many shots."""
    image = thumbnail.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), 1.0) - cv2.GaussianBlur(image, (0, 0), 8.0)
    return np.asarray(fine / max(float(fine.std()), 1.0) * 20, np.float32)


def _dissolves(
    thumbnails: NDArray[np.uint8], small: Frames, norms: NDArray[np.float32], low: int, high: int
) -> list[int]:
    """Middles of dissolves within frames `low` to `high`: all frames between two unlike frames are blends of them."""
    found: list[tuple[float, int, int]] = []
    shot = small[low:high]
    for half in DISSOLVES:
        if high - low <= 2 * half:
            continue
        count = len(shot) - 2 * half
        start, end = shot[:count], shot[2 * half :]
        unlike = (_correlation(start, end) < UNLIKE) & (norms[low : high - 2 * half] >= PLAIN)
        unlike &= norms[low + 2 * half : high] >= PLAIN
        quality, shares = _blends(start, end, [shot[half * k // 2 :][:count] for k in (1, 2, 3)])
        rising = (np.diff(shares, axis=0) > 0.05).all(axis=0) & (np.abs(shares[1] - 0.5) < 0.2)
        positions = np.flatnonzero(unlike & rising & (quality > BLEND))
        found += [(float(quality[position]), low + int(position) + half, half) for position in positions]
    middles: list[int] = []
    for _, middle, half in sorted(found, reverse=True):
        apart = all(abs(middle - other) > 2 * DISSOLVES[-1] for other in middles)
        ends = thumbnails[middle - half], thumbnails[middle + half]
        if apart and not _zooms(*ends) and not _zooms(*ends[::-1]) and not _pans(thumbnails, middle):
            middles.append(middle)
    return middles


def _blends(start: Frames, end: Frames, between: list[Frames]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit of frames as blends of `start` and `end`: mean share of variance explained [N], weight of `end` [3, N]."""
    ss, ee, se = ((a * b).sum(axis=1) for a, b in ((start, start), (end, end), (start, end)))
    determinant = np.maximum(ss * ee - se * se, 1e-3)
    qualities, shares = [], []
    for frame in between:
        fs, fe, ff = ((frame * other).sum(axis=1) for other in (start, end, frame))
        a, b = (fs * ee - fe * se) / determinant, (fe * ss - fs * se) / determinant
        explained = (a * fs + b * fe) / np.maximum(ff, 1e-3)
        qualities.append(np.where(np.abs(a + b - 1) < 0.45, explained, 0.0))
        shares.append(b / np.maximum(a + b, 1e-3))
    return np.mean(qualities, axis=0), np.stack(shares)
