"""Exact frames by index, from any video that FFmpeg reads."""

from pipeline.decode.frame import Frame, VideoInfo
from pipeline.decode.reader import VideoReader

__all__ = ["Frame", "VideoInfo", "VideoReader"]
