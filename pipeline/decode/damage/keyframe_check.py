"""Whether keyframes of HEVC and VP8 are intact: FFmpeg's decoders report little of their damage.

Damage nearly always changes how many bits of a packet the decoder consumes. An intact frame depends on the last bits
of its packet and on nothing after them. A damaged frame either consumes too few bits, and does not depend on the last
ones, or consumes more than there are, and depends on what follows. So keyframes are decoded again with their last
bytes changed, and HEVC keyframes also with bytes appended. For HEVC, only the first keyframe and those with a jump in
content are decoded again: every frame up to the next keyframe shows their damage.
"""

from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.decoded_frame import DecodedFrame, same_pixels, thumbnail_of
from facemill.pipeline.decode.nal import largest_hevc_slice, length_size
from facemill.pipeline.decode.timeline import Timeline

__all__ = ["KeyframeCheck", "uses_tail"]

JUMP = 0.1
"""Mean change not explained by motion, in gray levels of a thumbnail, above which a keyframe may be damaged."""
JUMP_RATIO = 2.0
"""The same, as a multiple of the change one frame earlier."""
NEAR = np.ones((5, 5), np.uint8)
"""Neighbourhood of a thumbnail's pixel within which motion is searched for."""
TAIL = 0.02
"""Share of a slice, at its end, that is changed. A few bytes may encode nothing visible, such as a black bar."""
APPENDED = bytes([0xA5]) * 64
FLAT = 0.05
"""Bits per pixel below which a keyframe is not tested: other bits may give the same black frame."""
SMALLEST = 400
"""Bytes of a slice below which a keyframe is not tested."""


class KeyframeCheck:
    """Tests the keyframes of an HEVC stream while it is decoded; accepts all frames of other codecs.

    Args:
        stream: of the file.
        timeline: of the stream.
    """

    def __init__(self, stream: Any, timeline: Timeline) -> None:
        context = stream.codec_context
        self._keyframes = timeline.keyframes if context.name == "hevc" else frozenset()
        self._before = {
            key: (last - 1, last) for key, last in timeline.before_keyframes.items() if key in self._keyframes
        }
        self._looked_at = self._keyframes.union(*self._before.values())
        self._extradata = context.extradata
        self._size_bytes = length_size(context.extradata, at=21)
        self._packets: dict[int, bytes] = {}
        self._thumbnails: dict[int, NDArray[np.uint8]] = {}

    def sent(self, index: int, packet: Any) -> None:
        """Record that the packet of a frame is sent to the decoder."""
        if index in self._keyframes:
            self._packets[index] = bytes(packet)

    def passes(self, index: int, frame: Any) -> bool:
        """Whether the next frame in display order may be intact."""
        if index not in self._looked_at:
            return True
        self._thumbnails[index] = thumbnail_of(DecodedFrame(frame))
        packet = self._packets.pop(index, None)
        return packet is None or not self._jumps(index) or self._uses_all(packet, frame)

    def _jumps(self, key: int) -> bool:
        thumbnails = [self._thumbnails.get(index) for index in self._before.get(key, ())]
        self._thumbnails = {index: kept for index, kept in self._thumbnails.items() if index >= key - 1}
        if len(thumbnails) < 2 or thumbnails[0] is None or thumbnails[1] is None:
            return True
        usual = _unexplained(thumbnails[0], thumbnails[1])
        return _unexplained(thumbnails[1], self._thumbnails[key]) > max(JUMP, JUMP_RATIO * usual)

    def _uses_all(self, packet: bytes, frame: Any) -> bool:
        place = largest_hevc_slice(packet, self._size_bytes)
        if place is None or not _is_testable(place[1] - place[0], frame):
            return True
        if not uses_tail("hevc", self._extradata, packet, place, frame):
            return False
        start, end = place
        size = (end - start + len(APPENDED)).to_bytes(self._size_bytes, "big") if self._size_bytes else b""
        longer = packet[: start - len(size)] + size + packet[start:end] + APPENDED + packet[end:]
        return _gives("hevc", self._extradata, longer, frame)


def uses_tail(codec: str, extradata: bytes | None, packet: bytes, place: tuple[int, int], frame: Any) -> bool:
    """Whether a keyframe depends on the last part of its data; true if that cannot be determined.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream.
        place: start and end of the data in the packet.
        frame: the decoded keyframe.
    """
    start, end = place
    if not _is_testable(end - start, frame):
        return True
    tail = end - round(TAIL * (end - start))
    changed = packet[:tail] + bytes(byte ^ 0x55 for byte in packet[tail:end]) + packet[end:]
    return not _gives(codec, extradata, changed, frame)


def _is_testable(size: int, frame: Any) -> bool:
    return bool(size >= max(SMALLEST, FLAT * frame.width * frame.height / 8))


def _gives(codec: str, extradata: bytes | None, packet: bytes, frame: Any) -> bool:
    """Whether a packet, decoded alone, gives the pixels of a frame."""
    context = av.CodecContext.create(codec, "r")
    context.extradata = extradata
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(packet)), *context.decode(None)]
    except av.error.FFmpegError:
        return False
    return len(frames) == 1 and same_pixels(frames[0], frame)


def _unexplained(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean gray levels by which pixels exceed the range of the pixels within two pixels of them in the frame before."""
    above = cv2.subtract(after, cv2.dilate(before, NEAR))
    below = cv2.subtract(cv2.erode(before, NEAR), after)
    return float(np.maximum(above, below).mean())
