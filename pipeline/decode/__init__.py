"""Exact frames by index, from any video that FFmpeg reads and from image sequences."""

from facemill.pipeline.decode.decoded_frame import DecodedFrame, Observer, SmallFrames, small_rgb, thumbnail_of
from facemill.pipeline.decode.frame import Colour, Frame, VideoInfo
from facemill.pipeline.decode.reader import VideoReader
from facemill.pipeline.decode.sequence import SequenceReader

__all__ = [
    "Colour",
    "DecodedFrame",
    "Frame",
    "Observer",
    "SequenceReader",
    "SmallFrames",
    "VideoInfo",
    "VideoReader",
    "small_rgb",
    "thumbnail_of",
]
