"""Display matrices: how a coded picture is turned and mirrored to be seen upright."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["UPRIGHT", "Orientation", "orientation_of"]


@dataclass(frozen=True, slots=True)
class Orientation:
    """Transpose first, then mirror: together every turn by a quarter, and every mirror image of one."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Degrees clockwise; of a mirrored picture, those left once it has been mirrored left to right."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[H, W] or [H, W, 3] as coded -> upright."""
        # OpenCV turns pictures several times faster than NumPy copies a transposed view.
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
"""By quarter turns counter-clockwise, as PyAV counts them."""


def orientation_of(picture: Any) -> Orientation:
    """The orientation that an `av.VideoFrame` carries; upright where it carries none.

    FFmpeg's matrix sends a coded point to `x' = a x + c y`, `y' = b x + d y`. Angles between quarter
    turns are taken for the nearest one, as no pixel may be resampled here.
    """
    try:
        data = picture.side_data
        carried = [data[number] for number in range(len(data))]  # iterating gives the kinds alone from PyAV 19 on
    except ValueError:  # a kind that PyAV has no name for, such as a JPEG's EXIF: then only the angle can be had
        return TURNED.get(round(picture.rotation / 90) % 4, UPRIGHT)
    for side_data in carried:
        if side_data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), np.int32)[:5])
            if abs(b) + abs(c) > abs(a) + abs(d):
                return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
            return Orientation(flip_x=a < 0, flip_y=d < 0)
    return UPRIGHT
