"""Display matrices: how a coded frame is rotated and mirrored for display."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["UPRIGHT", "Orientation", "orientation_of"]


@dataclass(frozen=True, slots=True)
class Orientation:
    """A transposition, then mirroring: covers all rotations by quarter turns, and their mirror images."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Degrees clockwise; for a mirrored frame, the rotation that remains after mirroring it left to right."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an image [H, W] or [H, W, 3] from coded to upright orientation."""
        # OpenCV rotates images several times faster than NumPy copies a transposed view.
        if self.transpose:
            image = cv2.transpose(image)
        if self.flip_x or self.flip_y:
            image = cv2.flip(image, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return image


UPRIGHT = Orientation()
TURNED = {
    1: Orientation(transpose=True, flip_y=True),
    2: Orientation(flip_x=True, flip_y=True),
    3: Orientation(transpose=True, flip_x=True),
}
"""By counter-clockwise quarter turns, as PyAV counts them."""
NAMED_PROFILES = frozenset({"apng", "png"})
"""Codecs whose colour profiles have names: PyAV frees such a name twice, which crashes the process, if side data is
looked at."""


def orientation_of(frame: Any, codec: str = "") -> Orientation:
    """The orientation in the side data of an `av.VideoFrame`; upright if there is none.

    FFmpeg's matrix maps a coded point to `x' = a x + c y`, `y' = b x + d y`. Other angles are rounded to the nearest
    quarter turn, since pixels must not be resampled here.

    Args:
        codec: FFmpeg's name; in a PNG file, mirroring is not seen.
    """
    if codec in NAMED_PROFILES:
        return _turned(frame)
    try:
        data = frame.side_data
        carried = [data[number] for number in range(len(data))]  # from PyAV 19 on, iterating yields only the types
    except ValueError:  # a type without a name in PyAV, such as a JPEG's EXIF: then only the angle is available
        return _turned(frame)
    for side_data in carried:
        if side_data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), np.int32)[:5])
            if abs(b) + abs(c) > abs(a) + abs(d):
                return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
            return Orientation(flip_x=a < 0, flip_y=d < 0)
    return UPRIGHT


def _turned(frame: Any) -> Orientation:
    return TURNED.get(round(frame.rotation / 90) % 4, UPRIGHT)
