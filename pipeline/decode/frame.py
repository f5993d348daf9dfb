"""What a reader says of a video, what it can be asked for, and what it hands out."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNSPECIFIED", "Colour", "Frame", "VideoInfo", "check_indices"]

UNSPECIFIED = 2
"""Number, in ITU-T H.273, of a colour matrix, primaries or transfer that the file does not tell."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How coded values become colours, as numbered in ITU-T H.273.

    Attributes:
        matrix: 1 BT.709, 5 and 6 BT.601, 9 BT.2020; 2 where the file does not say.
        range: 1 limited, 2 full; 0 where the file does not say.
        primaries, transfer: 2 where the file does not say; transfer 16 is PQ, 18 HLG.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video is, found by reading all of its packets and decoding the first picture.

    Attributes:
        frame_count: frames that the file really holds and shows; indices run from 0 in display order.
        declared_frames: how many of them the header claims; None where it claims nothing. More than
            `frame_count` means that the end of the file is missing.
        fps: mean frames per second; 0 where the file has one frame or no clock.
        width: pixels, of the upright first frame in square pixels.
        height: pixels, of the upright first frame in square pixels.
        rotation: degrees by which coded pictures are turned clockwise for display: 0, 90, 180 or 270.
        variable_rate: whether frames are unevenly spaced in time.
        codec: FFmpeg's name of the compression, such as `h264`.
        pix_fmt: FFmpeg's name of the coded pixel layout, such as `yuv420p10le`.
        coded_width, coded_height: pixels, as coded: before square pixels are made of them and they are turned.
        pixel_aspect: width of a coded pixel / its height.
        colour: as the first picture is tagged, completed by what the reader was told.
        interlaced: whether the first picture consists of two fields.
        profile: of the codec, such as `High`; empty where unknown.
        other_streams: moving video streams of the file that are smaller and were not taken.
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
        image: uint8 RGB [H, W, 3], upright; None where the frame does not decode intact.
    """

    index: int
    pts_s: float
    image: NDArray[np.uint8] | None


def check_indices(indices: Sequence[int], frame_count: int) -> list[int]:
    """The indices as integers.

    Raises:
        ValueError: they do not ascend without repetition, or do not lie in 0 to `frame_count - 1`.
    """
    chosen = [int(index) for index in indices]
    if any(later <= earlier for earlier, later in pairwise(chosen)):
        raise ValueError("Frame indices must ascend without repetition: sort them first.")
    if chosen and not 0 <= chosen[0] <= chosen[-1] < frame_count:
        raise ValueError(f"Frame indices must lie in 0..{frame_count - 1}, got {chosen[0]}..{chosen[-1]}.")
    return chosen
