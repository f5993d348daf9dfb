"""A dataset's ground-truth forgery masks, which are stored as separate videos."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.masks.difference import check_frame

__all__ = ["ground_truth_mask"]

# Masks are white, gray or coloured on black, with H.264 ringing of a few levels around the edges. A quarter of full
# scale, in the brightest channel, is well above the ringing and well below the mask.
DARK = (63, 63, 63)


def ground_truth_mask(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Convert a frame of a ground-truth mask video to a binary mask of the fake's size.

    A pixel is forged if its brightest channel exceeds 63 of 255, so that gray and coloured masks count in full. A mask
    video of another size is resized by nearest neighbour.

    Args:
        frame: uint8 RGB [h, w, 3], decoded from the mask video.
        height: of the fake's frame, pixels.
        width: of the fake's frame, pixels.

    Returns:
        uint8 [height, width] of 0 and 255.

    Raises:
        ValueError: the frame is not uint8 [h, w, 3], or the size is not positive.
    """
    check_frame("mask", frame)
    if height < 1 or width < 1:
        raise ValueError(f"A mask cannot have {height}x{width} pixels: pass the size of the fake's frame.")
    dark = cv2.inRange(np.ascontiguousarray(frame), (0, 0, 0), DARK)  # 255 where all channels are dark
    forged: NDArray[np.uint8] = cv2.bitwise_not(dark)
    if forged.shape == (height, width):
        return forged
    return np.asarray(cv2.resize(forged, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
