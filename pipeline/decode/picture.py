"""Decoded pictures as arrays: upright, of square pixels, in RGB or as a small luma image."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.orientation import UPRIGHT, Orientation

__all__ = ["Observer", "Picture", "picture_of", "rgb_of", "same_pixels", "small_rgb", "square_size", "thumbnail_of"]

THUMBNAIL_SIDE = 96
"""Longer side of a thumbnail, pixels."""
SQUARE = Fraction(1)
NEARLY_SQUARE = Fraction(1, 100)
"""Aspect ratios this near to 1 come of rounding; resampling a picture for them would cost more than it mends."""
_EIGHT_BIT_LUMA = ("yuv4", "yuvj4", "nv12", "nv16", "nv21", "nv24", "gray")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture, not yet converted.

    Attributes:
        frame: the `av.VideoFrame`.
        pixel_aspect: width of a coded pixel / its height.
        orientation: how it is to be turned.
    """

    frame: Any
    pixel_aspect: Fraction = SQUARE
    orientation: Orientation = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright, in square pixels."""
        width, height = square_size(self.frame.width, self.frame.height, self.pixel_aspect)
        return (height, width) if self.orientation.transpose else (width, height)


Observer = Callable[[int, Picture], None]
"""Called with a frame's index and its picture; the picture is not to be kept."""


def picture_of(image: NDArray[np.uint8]) -> Picture:
    """An RGB image [H, W, 3] as a picture."""
    import av

    return Picture(av.VideoFrame.from_ndarray(image, format="rgb24"))


def square_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height of a coded picture in square pixels: the side that is short of pixels grows."""
    if abs(pixel_aspect - SQUARE) < NEARLY_SQUARE:
        return width, height
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def rgb_of(picture: Picture) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3], upright, square pixels."""
    frame = picture.frame
    width, height = square_size(frame.width, frame.height, picture.pixel_aspect)
    size = {} if (width, height) == (frame.width, frame.height) else {"width": width, "height": height}
    # One thread: as many as there are cores, FFmpeg's choice, is slower and takes them from others.
    rgb = frame.to_ndarray(format="rgb24", threads=1, **size, **({"interpolation": "BICUBIC"} if size else {}))
    return picture.orientation.apply(np.ascontiguousarray(rgb))


def small_rgb(picture: Picture, side: int) -> NDArray[np.uint8]:
    """uint8 RGB [h, w, 3], upright, square pixels, its longer side `side` pixels (never enlarged)."""
    width, height = _small_size(picture, side)
    rgb = picture.frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA", threads=1)
    return picture.orientation.apply(np.ascontiguousarray(rgb))


def thumbnail_of(picture: Picture, side: int = THUMBNAIL_SIDE) -> NDArray[np.uint8]:
    """Luma, uint8 [h, w], upright, square pixels; its longer side has `side` pixels, whatever the picture's size.

    As coded, where a layout has a plane of bytes for it (limited range stays limited); full range otherwise.
    """
    frame = picture.frame
    width, height = _small_size(picture, side, enlarge=True)
    luma = _luma_plane(frame)
    if luma is None:
        small = frame.to_ndarray(format="gray", width=width, height=height, interpolation="AREA", threads=1)
    else:
        # Four samples of each quarter of a cell are enough: the mean of all pixels takes 40 times as long.
        fine = cv2.resize(luma, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return picture.orientation.apply(np.ascontiguousarray(small))


def same_pixels(one: Any, other: Any) -> bool:
    """Whether two `av.VideoFrame`s of planar layouts are equal."""
    if (one.format.name, one.width, one.height) != (other.format.name, other.width, other.height):
        return False
    planes = zip(one.planes, other.planes, strict=True)
    return all(np.array_equal(_samples(a, one), _samples(b, other)) for a, b in planes)


def _samples(plane: Any, frame: Any) -> NDArray[np.uint8]:
    """The bytes of a plane [H, bytes of a row], a view, without what pads its rows."""
    row = plane.width * -(-frame.format.components[0].bits // 8)
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :row]


def _small_size(picture: Picture, side: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Width and height, before the picture is turned upright."""
    width, height = square_size(picture.frame.width, picture.frame.height, picture.pixel_aspect)
    scale = side / max(width, height)
    if not enlarge:
        scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _luma_plane(frame: Any) -> NDArray[np.uint8] | None:
    """The coded luma [H, W], a view; None where it is not a plane of bytes of its own."""
    layout = frame.format
    if not layout.name.startswith(_EIGHT_BIT_LUMA) or layout.components[0].bits != 8:
        return None
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
