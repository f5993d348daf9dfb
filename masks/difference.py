"""The forged region of a frame, found by comparing it with the frame it was made from.

The recipe is that of Local Relation Learning (AAAI 2021): the absolute difference per RGB channel,
turned to gray, divided by 255, and cut at 0.15. Morphology then removes speckle and closes gaps.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["check_frames", "difference_mask", "luma_difference", "mask_from_difference", "mask_iou", "noise_threshold"]

LRL_THRESHOLD = 0.15

# What `auto` is made of; the figures were chosen on real clips encoded at crf 0 to 45.
TILES = 8  # a side of the grid of tiles that noise is measured in
NOISE_QUANTILE = 0.99  # of a tile's pixels: what the opening of speckle still copes with
NOISIER_TILES = 0.75  # quantile over tiles known to be outside the face
TYPICAL_TILES = 0.5  # quantile over all tiles: right while the face fills less than half of them
QUIET_LEVEL = 6  # lowest cut, gray levels: rounding and blending noise of lossless pairs stays below

LEVELS = np.arange(256) / 255

Frame = NDArray[np.uint8]  # [H, W, 3] RGB
Mask = NDArray[np.uint8]  # [H, W] of 0 and 255
Box = Sequence[float]  # x1, y1, x2, y2 in pixels
Region = Box | Sequence[Box] | NDArray[np.generic]


def luma_difference(real: Frame, fake: Frame) -> NDArray[np.uint8]:
    """Absolute difference per RGB channel, then its luma (ITU-R BT.601).

    Args:
        real: uint8 RGB [H, W, 3].
        fake: the frame made from it, of the same shape.

    Returns:
        uint8 [H, W], gray levels.

    Raises:
        ValueError: a frame is not uint8 [H, W, 3], or the two differ in size.
    """
    check_frames(real, fake)
    difference = cv2.absdiff(np.ascontiguousarray(real), np.ascontiguousarray(fake))
    gray: NDArray[np.uint8] = cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY)
    return gray


def difference_mask(
    real: Frame,
    fake: Frame,
    *,
    threshold: float | Literal["auto"] = LRL_THRESHOLD,
    open: int = 1,
    close: int = 2,
    fill_holes: bool = True,
    outside: Region | None = None,
) -> Mask:
    """Where `fake` was forged: 255 where it differs from `real`, 0 elsewhere.

    Args:
        real: uint8 RGB [H, W, 3].
        fake: the frame made from it, of the same shape.
        threshold: a pixel is forged where its luma difference / 255 is greater than this (a
            difference equal to it is not forged), 0 to 1; `auto` takes `noise_threshold`.
        open: radius in pixels of the disk that speckle is removed with; 0 for none.
        close: radius in pixels of the disk that gaps are closed with; 0 for none.
        fill_holes: whether background that the forged region encloses becomes forged.
        outside: for `auto`, where the face may be; noise is measured outside of it.

    Returns:
        uint8 [H, W] of 0 and 255.

    Raises:
        ValueError: frames that cannot be compared, or an argument out of range.
    """
    return mask_from_difference(
        luma_difference(real, fake),
        threshold=threshold,
        open=open,
        close=close,
        fill_holes=fill_holes,
        outside=outside,
    )


def mask_from_difference(
    difference: NDArray[np.uint8],
    *,
    threshold: float | Literal["auto"] = LRL_THRESHOLD,
    open: int = 1,
    close: int = 2,
    fill_holes: bool = True,
    outside: Region | None = None,
) -> Mask:
    """`difference_mask` for a luma difference uint8 [H, W] that is already at hand."""
    _check_difference(difference)
    cut = noise_threshold(difference, outside) if threshold == "auto" else threshold
    if not 0 <= cut <= 1:
        raise ValueError(f"Threshold {threshold} is out of range: pass a share of 255, from 0 to 1, or 'auto'.")
    # OpenCV compares with `>` on whole levels: the greatest level that is not above the cut.
    highest_real = int(np.searchsorted(LEVELS, cut, side="right")) - 1
    mask: Mask = cv2.threshold(difference, highest_real, 255, cv2.THRESH_BINARY)[1]
    if open:
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disk(open))
    if close:
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disk(close))
    return _filled(mask) if fill_holes else mask


def noise_threshold(difference: NDArray[np.uint8], outside: Region | None = None) -> float:
    """A threshold just above a pair's own compression noise.

    The frame is divided into 8 x 8 tiles, and a tile's noise is the level that 99 % of its pixels do
    not exceed. The threshold is the upper quartile of the tiles that do not touch the face or, where
    nobody knows the face, the median of all tiles (which needs a face that fills less than half of
    the frame). It is never below 6/255, nor above LRL's 0.15, and 0.15 where no tile is free.

    Args:
        difference: uint8 [H, W], from `luma_difference`.
        outside: where the face may be: one box or several (xyxy, pixels), or a mask [H, W] that is
            true there. A detector's box should be enlarged to hold all that may be forged.

    Returns:
        The threshold, luma difference / 255.

    Raises:
        ValueError: `difference` is not uint8 [H, W], or `outside` neither boxes nor a mask of that size.
    """
    _check_difference(difference)
    height, width = difference.shape
    face = np.zeros((height, width), np.bool_) if outside is None else _face_region(outside, height, width)
    rows = np.linspace(0, height, TILES + 1).astype(int)
    columns = np.linspace(0, width, TILES + 1).astype(int)
    levels = [
        _quantile_level(difference[top:bottom, left:right])
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
        if bottom > top and right > left and not face[top:bottom, left:right].any()
    ]
    if not levels:
        return LRL_THRESHOLD
    level = float(np.quantile(levels, TYPICAL_TILES if outside is None else NOISIER_TILES))
    return min(max(level, QUIET_LEVEL) / 255, LRL_THRESHOLD)


def mask_iou(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Intersection over union of two masks [H, W] (non-zero is in); 1.0 where both are empty.

    Raises:
        ValueError: the masks differ in shape.
    """
    if a.shape != b.shape:
        raise ValueError(f"Masks of {list(a.shape)} and {list(b.shape)} cannot be compared: bring both to one size.")
    in_a, in_b = a != 0, b != 0
    union = np.count_nonzero(in_a | in_b)
    return np.count_nonzero(in_a & in_b) / union if union else 1.0


def check_frames(real: Frame, fake: Frame) -> None:
    """Raise ValueError unless both frames are uint8 RGB [H, W, 3] of one size."""
    for name, frame in (("real", real), ("fake", fake)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            raise ValueError(f"The {name} frame is {frame.dtype} {list(frame.shape)}: pass uint8 RGB [H, W, 3].")
    if real.shape != fake.shape:
        raise ValueError(
            f"Frames of {list(real.shape)} and {list(fake.shape)} cannot be compared: pair videos of one size."
        )


def _check_difference(difference: NDArray[np.uint8]) -> None:
    if difference.dtype != np.uint8 or difference.ndim != 2 or difference.size == 0:
        raise ValueError(f"The difference is {difference.dtype} {list(difference.shape)}: pass uint8 [H, W].")


def _disk(radius: int) -> NDArray[np.uint8]:
    """Every pixel within `radius` of the centre; OpenCV's own ellipse is another shape."""
    if radius < 0:
        raise ValueError(f"Radius {radius} is negative: pass 0 to leave the step out.")
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk: NDArray[np.uint8] = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk


def _filled(mask: Mask) -> Mask:
    """Enclosed background (4-connected) made foreground: what `scipy.ndimage.binary_fill_holes` does, far faster."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: Mask = cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED)
    return filled


def _face_region(outside: Region, height: int, width: int) -> NDArray[np.bool_]:
    """Boxes or a mask as a mask [H, W], boxes rounded outwards."""
    region = np.asarray(outside)
    if region.shape == (height, width) and region.dtype in (np.bool_, np.uint8):
        return region.astype(np.bool_)
    if region.ndim not in (1, 2) or region.shape[-1] != 4 or not np.isfinite(region).all():
        raise ValueError(
            f"`outside` is {region.dtype} {list(region.shape)}: pass xyxy boxes or a bool mask [{height}, {width}]."
        )
    face = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in np.atleast_2d(region):
        left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
        face[top : max(int(np.ceil(y2)), 0), left : max(int(np.ceil(x2)), 0)] = True
    return face


def _quantile_level(tile: NDArray[np.uint8]) -> int:
    """The lowest gray level that `NOISE_QUANTILE` of the pixels do not exceed."""
    counts = cv2.calcHist([tile], [0], None, [256], [0, 256]).ravel()
    return int(np.searchsorted(np.cumsum(counts), NOISE_QUANTILE * tile.size))
