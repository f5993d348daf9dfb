"""The forged region of a frame, found by comparing the frame with its original.

The method is that of Local Relation Learning (AAAI 2021): the absolute difference per RGB channel is converted to
gray, divided by 255, and thresholded at 0.15. Morphology then removes speckle and closes gaps.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["check_frame", "check_sizes", "difference_mask", "disk", "luma_difference", "mask_iou"]

LRL_THRESHOLD = 0.15

LEVELS = np.arange(256) / 255

Frame = NDArray[np.uint8]  # [H, W, 3] RGB
Mask = NDArray[np.uint8]  # [H, W] of 0 and 255


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
    check_frame("real", real)
    check_frame("fake", fake)
    check_sizes(real.shape, fake.shape)
    difference = cv2.absdiff(np.ascontiguousarray(real), np.ascontiguousarray(fake))
    return np.asarray(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY), np.uint8)


def difference_mask(
    real: Frame,
    fake: Frame,
    *,
    threshold: float = LRL_THRESHOLD,
    open: int = 1,
    close: int = 2,
    fill_holes: bool = True,
) -> Mask:
    """Forgery mask of `fake`: 255 where it differs from `real`, 0 elsewhere.

    Examples:
        >>> real = np.zeros((64, 64, 3), np.uint8)
        >>> fake = real.copy()
        >>> fake[20:40, 20:40] = 200
        >>> int((facemill.difference_mask(real, fake, open=0) == 255).sum())
        400

    Args:
        real: uint8 RGB [H, W, 3].
        fake: the frame made from it, of the same shape.
        threshold: a pixel is forged where its luma difference / 255 is greater than this (a
            difference equal to it is not forged), 0 to 1.
        open: radius in pixels of the morphological opening, which removes speckle; 0 for none.
        close: radius in pixels of the morphological closing, which closes gaps; 0 for none.
        fill_holes: whether background enclosed by the forged region counts as forged.

    Returns:
        uint8 [H, W] of 0 and 255.

    Raises:
        ValueError: frames that cannot be compared, or an argument out of range.
    """
    difference = luma_difference(real, fake)
    if not 0 <= threshold <= 1:
        raise ValueError(f"Threshold {threshold} is out of range: pass a share of 255, from 0 to 1.")
    # OpenCV compares integer levels with `>`: use the greatest level that is not above the threshold.
    highest_real = int(np.searchsorted(LEVELS, threshold, side="right")) - 1
    mask: Mask = cv2.threshold(difference, highest_real, 255, cv2.THRESH_BINARY)[1]
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk(open))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk(close))
    return _filled(mask) if fill_holes else mask


def mask_iou(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Intersection over union of two masks [H, W] (non-zero is foreground); 1.0 if both are empty.

    Raises:
        ValueError: the masks differ in shape.
    """
    if a.shape != b.shape:
        raise ValueError(f"Masks of {list(a.shape)} and {list(b.shape)} cannot be compared: bring both to one size.")
    in_a, in_b = a != 0, b != 0
    union = np.count_nonzero(in_a | in_b)
    return np.count_nonzero(in_a & in_b) / union if union else 1.0


def check_sizes(real: tuple[int, ...], fake: tuple[int, ...]) -> None:
    """Raise ValueError unless two frames have one size."""
    if real != fake:
        raise ValueError(f"Frames of {list(real)} and {list(fake)} cannot be compared: pair videos of one size.")


def check_frame(name: str, frame: Frame) -> None:
    """Raise ValueError, with the frame's name, unless it is uint8 RGB [H, W, 3]."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(f"The {name} frame is {frame.dtype} {list(frame.shape)}: pass uint8 RGB [H, W, 3].")


def disk(radius: float) -> NDArray[np.uint8]:
    """Disk of all pixels within `radius` of the centre; OpenCV's ellipse has another shape."""
    if radius < 0:
        raise ValueError(f"Radius {radius} is negative: pass 0 to leave the step out.")
    whole = int(radius)
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return np.asarray(x * x + y * y <= radius**2, np.uint8)


def _filled(mask: Mask) -> Mask:
    """Fill enclosed background (4-connected), as `scipy.ndimage.binary_fill_holes` does, but much faster."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: Mask = cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED)
    return filled
