"""Writing demo frames as H.264 video."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["FPS", "VideoEncoder"]

FPS = 25


class VideoEncoder:
    """One picture sequence, encoded at several qualities at once.

    Args:
        paths: file -> constant rate factor; folders are made.
        size: (width, height), both even.
    """

    def __init__(self, paths: dict[Path, int], size: tuple[int, int]) -> None:
        self._outputs: list[tuple[Any, Any]] = []  # (container, stream)
        self._frames = 0
        for path, crf in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(path), "w")
            # One thread: the videos themselves are encoded side by side, and the bytes never vary.
            options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            self._outputs.append((container, stream))

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a picture: uint8 RGB [H, W, 3] or gray [H, W]."""
        frame = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = self._frames, Fraction(1, FPS)
        self._frames += 1
        for container, stream in self._outputs:
            container.mux(stream.encode(frame))

    def __enter__(self) -> "VideoEncoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container, stream in self._outputs:
            if kind is None:
                container.mux(stream.encode(None))
            container.close()
