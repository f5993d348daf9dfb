"""Exact frames by index, from any video that FFmpeg reads and from sequences of pictures."""

from facemill.pipeline.decode.frame import Colour, Frame, VideoInfo
from facemill.pipeline.decode.picture import Observer, Picture, small_rgb, thumbnail_of
from facemill.pipeline.decode.reader import VideoReader
from facemill.pipeline.decode.sequence import SequenceReader

__all__ = [
    "Colour",
    "Frame",
    "Observer",
    "Picture",
    "SequenceReader",
    "VideoInfo",
    "VideoReader",
    "small_rgb",
    "thumbnail_of",
]
