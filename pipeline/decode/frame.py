"""Properties of a video, and the frames that a reader returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNSPECIFIED", "Colour", "Frame", "VideoInfo", "check_indices"]

UNSPECIFIED = 2
"""ITU-T H.273 number of an unspecified colour matrix, primaries or transfer."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How coded values are converted to colours, as numbered in ITU-T H.273.

    Attributes:
        matrix: 1 BT.709, 5 and 6 BT.601, 9 BT.2020; 2 unspecified.
        range: 1 limited, 2 full; 0 unspecified.
        primaries, transfer: 2 unspecified; transfer 16 is PQ, 18 HLG.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video, found by reading all of its packets and decoding the first frame.

    Attributes:
        frame_count: frames that the file actually contains and shows; indices run from 0 in display order.
        declared_frames: frame count declared by the header; None if it declares none. More than
            `frame_count` means that the end of the file is missing.
        fps: mean frames per second; 0 if the file has one frame or no time stamps.
        width: pixels, of the upright first frame in square pixels.
        height: pixels, of the upright first frame in square pixels.
        rotation: degrees by which coded frames are rotated clockwise for display: 0, 90, 180 or 270.
        variable_rate: whether frames are unevenly spaced in time.
        codec: FFmpeg's name of the compression, such as `h264`.
        pix_fmt: FFmpeg's name of the coded pixel layout, such as `yuv420p10le`.
        coded_width, coded_height: pixels, as coded: before rotation and conversion to square pixels.
        pixel_aspect: width of a coded pixel / its height.
        colour: tags of the first frame, completed by the colour passed to the reader.
        interlaced: whether the first frame consists of two fields.
        profile: of the codec, such as `High`; empty if unknown.
        other_streams: number of further video streams (cover images not counted), which are not read.
    """

    frame_count: int
    declared_frames: int | None
    fps: float
    width: int
    height: int
    rotation: int
    variable_rate: bool
    codec: str
    pix_fmt: str
    coded_width: int = 0
    coded_height: int = 0
    pixel_aspect: Fraction = Fraction(1)
    colour: Colour = Colour()
    interlaced: bool = False
    profile: str = ""
    other_streams: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        index: position in display order, from 0.
        pts_s: presentation time on the file's own clock, seconds.
        image: uint8 RGB [H, W, 3], upright; None if the frame does not decode intact.
    """

    index: int
    pts_s: float
    image: NDArray[np.uint8] | None


def check_indices(indices: Sequence[int], frame_count: int) -> list[int]:
    """The indices as integers.

    Raises:
        ValueError: they are not strictly ascending, or not in 0 to `frame_count - 1`.
    """
    chosen = [int(index) for index in indices]
    if any(later <= earlier for earlier, later in pairwise(chosen)):
        raise ValueError("Frame indices must ascend without repetition: sort them first.")
    if chosen and not 0 <= chosen[0] <= chosen[-1] < frame_count:
        raise ValueError(f"Frame indices must lie in 0..{frame_count - 1}, got {chosen[0]}..{chosen[-1]}.")
    return chosen
