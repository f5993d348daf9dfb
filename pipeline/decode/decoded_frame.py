"""Conversion of decoded frames to arrays: upright, with square pixels, as RGB or as a small luma image."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.orientation import UPRIGHT, Orientation

__all__ = [
    "DecodedFrame",
    "Observer",
    "SmallFrames",
    "first_plane",
    "planes_of",
    "rgb_of",
    "same_pixels",
    "small_rgb",
    "square_size",
    "thumbnail_of",
    "wrap_rgb",
]

THUMBNAIL_SIDE = 96
"""Longer side of a thumbnail, pixels."""
SQUARE = Fraction(1)
NEARLY_SQUARE = Fraction(1, 100)
"""Aspect ratios this close to 1 result from rounding; resampling would cost more quality than it gains."""
_EIGHT_BIT_LUMA = ("yuv4", "yuvj4", "nv12", "nv16", "nv21", "nv24", "gray")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One decoded frame, not yet converted.

    Attributes:
        frame: the `av.VideoFrame`.
        pixel_aspect: width of a coded pixel / its height.
        orientation: how it must be rotated and mirrored for display.
    """

    frame: Any
    pixel_aspect: Fraction = SQUARE
    orientation: Orientation = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright, in square pixels."""
        width, height = square_size(self.frame.width, self.frame.height, self.pixel_aspect)
        return (height, width) if self.orientation.transpose else (width, height)


Observer = Callable[[int, DecodedFrame], None]
"""Called with a frame's index and the decoded frame, whose memory the decoder uses again unless it is kept."""


def wrap_rgb(image: NDArray[np.uint8]) -> DecodedFrame:
    """Wrap an RGB image [H, W, 3] as a decoded frame."""
    return DecodedFrame(av.VideoFrame.from_ndarray(image, format="rgb24"))


def square_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height of a coded frame in square pixels; the side with too few pixels is enlarged."""
    if pixel_aspect is SQUARE or abs(pixel_aspect - SQUARE) < NEARLY_SQUARE:
        return width, height
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def rgb_of(decoded: DecodedFrame) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3], upright, square pixels."""
    frame = decoded.frame
    width, height = square_size(frame.width, frame.height, decoded.pixel_aspect)
    size = {} if (width, height) == (frame.width, frame.height) else {"width": width, "height": height}
    # One thread: FFmpeg's default, one per core, is slower and takes the cores from other workers.
    rgb = frame.to_ndarray(format="rgb24", threads=1, **size, **({"interpolation": "BICUBIC"} if size else {}))
    return decoded.orientation.apply(np.ascontiguousarray(rgb))


def small_rgb(decoded: DecodedFrame, side: int) -> NDArray[np.uint8]:
    """uint8 RGB [h, w, 3], upright, square pixels, shrunk to `side` pixels on its longer side; never enlarged."""
    width, height = _small_size(decoded, side)
    rgb = decoded.frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA", threads=1)
    return decoded.orientation.apply(np.ascontiguousarray(rgb))


class SmallFrames(Mapping[int, NDArray[np.uint8]]):
    """`small_rgb` of some frames of a video, by index; of small frames, it is computed when it is asked for.

    Larger frames are shrunk at once: as decoded, they would take more memory.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._frames: dict[int, DecodedFrame | NDArray[np.uint8]] = {}

    def add(self, index: int, decoded: DecodedFrame) -> None:
        width, height = _small_size(decoded, self._side)
        coded = sum(plane.buffer_size for plane in decoded.frame.planes)
        self._frames[index] = decoded if coded <= 3 * width * height else small_rgb(decoded, self._side)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        frame = self._frames[index]
        return small_rgb(frame, self._side) if isinstance(frame, DecodedFrame) else frame

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def thumbnail_of(decoded: DecodedFrame, side: int = THUMBNAIL_SIDE) -> NDArray[np.uint8]:
    """Luma, uint8 [h, w], upright, square pixels; its longer side has `side` pixels for every frame size.

    Luma is as coded if the pixel layout has an 8-bit luma plane (limited range stays limited), else full range.
    """
    frame = decoded.frame
    width, height = _small_size(decoded, side, enlarge=True)
    if not _has_byte_luma(frame.format.name):
        small = frame.to_ndarray(format="gray", width=width, height=height, interpolation="AREA", threads=1)
    else:
        # Bilinear samples at twice the size are enough: the mean of all pixels takes 40 times as long.
        fine = cv2.resize(first_plane(frame), (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return decoded.orientation.apply(np.ascontiguousarray(small))


def same_pixels(one: Any, other: Any) -> bool:
    """Whether two `av.VideoFrame`s of planar layouts are equal."""
    if (one.format.name, one.width, one.height) != (other.format.name, other.width, other.height):
        return False
    return all(map(np.array_equal, planes_of(one), planes_of(other)))


def planes_of(frame: Any) -> list[NDArray[np.uint8]]:
    """Views of the bytes of each plane [H, bytes per row] of an `av.VideoFrame`, without row padding."""
    return [_samples(plane, frame) for plane in frame.planes]


def first_plane(frame: Any) -> NDArray[np.uint8]:
    """As `planes_of`, of the luma plane alone."""
    return _samples(frame.planes[0], frame)


def _samples(plane: Any, frame: Any) -> NDArray[np.uint8]:
    """View of a plane's bytes [H, bytes per row], without row padding."""
    row = plane.width * -(-_bits(frame.format.name) // 8)
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :row]


def _small_size(decoded: DecodedFrame, side: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Width and height of the shrunk frame, before it is turned upright."""
    width, height = square_size(decoded.frame.width, decoded.frame.height, decoded.pixel_aspect)
    scale = side / max(width, height)
    if not enlarge:
        scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _has_byte_luma(layout: str) -> bool:
    """Whether a pixel layout has a plane of luma, 8 bits each."""
    return layout.startswith(_EIGHT_BIT_LUMA) and _bits(layout) == 8


@cache
def _bits(layout: str) -> int:
    """Of a sample of the first plane."""
    return int(av.VideoFormat(layout).components[0].bits)
