"""What a reader says of a video, and what it hands out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "VideoInfo"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video is, found by reading all of its packets and decoding the first picture.

    Attributes:
        frame_count: frames that the file really holds and shows; indices run from 0 in display order.
        declared_frames: how many of them the header claims; None where it claims nothing. More than
            `frame_count` means that the end of the file is missing.
        fps: mean frames per second; 0 where the file has one frame or no clock.
        width: pixels, of the upright first frame.
        height: pixels, of the upright first frame.
        rotation: degrees by which coded pictures are turned clockwise for display: 0, 90, 180 or 270.
        variable_rate: whether frames are unevenly spaced in time.
        codec: FFmpeg's name of the compression, such as `h264`.
        pix_fmt: FFmpeg's name of the coded pixel layout, such as `yuv420p10le`.
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
