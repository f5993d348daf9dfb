"""Exact frames by index, from any video that FFmpeg reads and from sequences of pictures."""

from pipeline.decode.frame import Frame, VideoInfo
from pipeline.decode.reader import VideoReader
from pipeline.decode.sequence import SequenceReader

__all__ = ["Frame", "SequenceReader", "VideoInfo", "VideoReader"]
