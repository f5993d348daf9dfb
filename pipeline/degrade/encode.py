"""Encodes one video again: compressed more, and smaller."""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from facemill import ConfigError, VideoError
from facemill.manifests.codes import Reason
from facemill.manifests.storage import atomic_path
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.decode.decoded_frame import DecodedFrame, planes_of, square_size

__all__ = ["Degradation", "encode_again", "is_complete"]

CRFS = range(52)
"""Constant rate factors of 8-bit H.264."""
PRESET = "medium"
"""x264's default, which FFmpeg uses unless told otherwise."""
TICKS = Fraction(1, 90_000)
"""Unit of the times of a file that has none of its own, seconds."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """How videos are degraded.

    Attributes:
        crf: H.264's constant rate factor, 0 to 51.
        resize: factor of both sides, in whole percent, above 0 and at most 1.

    Raises:
        ConfigError: for other values.
    """

    crf: int
    resize: float = 1.0

    def __post_init__(self) -> None:
        if self.crf not in CRFS:
            raise ConfigError(f"H.264 has rate factors from 0 (lossless) to 51, not {self.crf}: 23 and 40 are usual.")
        if not 0 < self.resize <= 1 or abs(self.resize * 100 - round(self.resize * 100)) > 1e-9:
            raise ConfigError(f"Videos are made smaller by a factor of whole percent up to 1, not by {self.resize:g}.")

    @property
    def quality(self) -> str:
        """Name in manifests: `c40`, or `c40-r50` at half the size."""
        return f"c{self.crf}" + ("" if self.resize == 1 else f"-r{round(self.resize * 100)}")

    def mark(self, source: Path) -> str:
        """What a finished file says about itself: what of, how and by which encoder it was made."""
        encoder = {"preset": PRESET, "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}
        return json.dumps({"facemill": self.quality, "source_bytes": source.stat().st_size, **encoder})


def is_complete(path: Path, source: Path, degradation: Degradation) -> bool:
    """Whether a file is this degradation of the source; files are renamed only when they are whole."""
    try:
        with av.open(str(path)) as container:
            return bool(container.metadata.get("comment") == degradation.mark(source))
    except (OSError, ValueError):
        return False


def encode_again(source: Path, targets: Mapping[Degradation, Path]) -> int:
    """Decode a video once, and encode it for each degradation: H.264 in MP4, 8 bits, 4:2:0, without audio.

    Frames keep their number, their times and their colour tags. They are upright, with square pixels. Resized sides
    are rounded to even numbers; an odd side that is not resized loses its last coded row or column. One thread decodes
    and one encodes, so that equal sources give equal bytes on any number of cores.

    Returns:
        the number of frames.

    Raises:
        VideoError: if the video cannot be read, or a frame of it does not decode intact; nothing is written then.
    """
    with VideoReader(source) as reader, ExitStack() as stack:
        temporary = {how: stack.enter_context(atomic_path(path)) for how, path in targets.items()}
        with ExitStack() as files:
            outputs = [_Output(path, how, source, reader, files) for how, path in temporary.items()]
            seen: list[int] = []

            def encode(index: int, decoded: DecodedFrame) -> None:
                seen.append(index)
                for output in outputs:
                    output.write(index, decoded)

            for _ in reader.read([], observer=encode, every=True):
                pass
            if len(seen) != reader.info.frame_count:
                lost = reader.info.frame_count - len(seen)
                raise VideoError(
                    Reason.UNREADABLE,
                    f"{lost} of {reader.info.frame_count} frames of {source} do not decode intact: replace the file.",
                )
            for output in outputs:
                output.flush()
        return len(seen)


class _Output:
    """A file that is being written."""

    def __init__(self, path: Path, how: Degradation, source: Path, reader: VideoReader, files: ExitStack) -> None:
        self._container = files.enter_context(av.open(str(path), "w", format="mp4"))
        self._container.metadata["comment"] = how.mark(source)
        self._how, self._info, self._times = how, reader.info, reader.times
        self._stream: Any = None

    def write(self, index: int, decoded: DecodedFrame) -> None:
        image = _degraded(decoded, self._how.resize)
        unit = decoded.frame.time_base or TICKS
        if self._stream is None:
            self._stream = self._opened(image, unit)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = round(self._times[index] / unit), unit
        for tag in ("colorspace", "color_range"):
            setattr(frame, tag, getattr(decoded.frame, tag))
        self._mux(self._stream.encode(frame))

    def _opened(self, image: NDArray[np.uint8], unit: Fraction) -> Any:
        """The stream, with the size and the colours of the first frame."""
        rate = Fraction(self._info.fps).limit_denominator(1001) if self._info.fps else Fraction(25)
        options = {"crf": str(self._how.crf), "preset": PRESET, "threads": "1"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = len(image) * 2 // 3, image.shape[1], "yuv420p"
        stream.time_base = stream.codec_context.time_base = unit
        colour, context = self._info.colour, stream.codec_context
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        return stream

    def flush(self) -> None:
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


def _degraded(decoded: DecodedFrame, factor: float) -> NDArray[np.uint8]:
    """A frame's planes, resized, cropped to even sides and upright, one below the other: [H * 3 / 2, W]."""
    frame = decoded.frame
    square = square_size(frame.width, frame.height, decoded.pixel_aspect)
    # Even at once: swscale stretches the chroma of odd sides. Only sides that are not resized are cropped.
    width, height = square if factor == 1 else (max(round(side * factor / 2) * 2, 2) for side in square)
    small = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC", threads=1)
    sizes = [(height // 2 * 2, width // 2 * 2), *[(height // 2, width // 2)] * 2]
    planes = [
        decoded.orientation.apply(np.ascontiguousarray(plane[:rows, :columns]))
        for plane, (rows, columns) in zip(planes_of(small), sizes, strict=True)
    ]
    return np.concatenate([plane.ravel() for plane in planes]).reshape(-1, planes[0].shape[1])
