"""Whether keyframes of HEVC and VP8 are intact, of which FFmpeg's decoders say little.

Damage nearly always changes how many bits of a packet a picture takes. An intact picture depends on the last bits of
its packet and on nothing that follows them. A damaged one takes too few, and is the same whatever the last bits are, or
takes more than there are, and depends on what follows. So keyframes are decoded again with other last bytes, and those
of HEVC with bytes appended. Of HEVC, that is done for the first one and for those that jump: every frame up to the next
keyframe shows their damage.
"""

from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.nal import largest_hevc_slice, length_size
from facemill.pipeline.decode.picture import Picture, same_pixels, thumbnail_of
from facemill.pipeline.decode.timeline import Timeline

__all__ = ["KeyframeCheck", "uses_tail"]

JUMP = 0.1
"""Mean change that motion does not explain, in gray levels of a thumbnail, from which a keyframe may be damaged."""
JUMP_RATIO = 2.0
"""The same, as a multiple of the change one frame earlier."""
NEAR = np.ones((5, 5), np.uint8)
"""Pixels of a thumbnail among which a moved one is sought."""
TAIL = 0.02
"""Last part of a slice that is changed. A few bytes could hold what changes nothing: a black bar."""
APPENDED = bytes([0xA5]) * 64
FLAT = 0.05
"""Bits for each pixel of a keyframe under which nothing is told: other bits may give the same black picture."""
SMALLEST = 400
"""Bytes of a slice under which nothing is told."""


class KeyframeCheck:
    """Follows the packets and pictures of a stream; agrees with whatever it is told of other codecs than HEVC.

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
        """The packet of a frame goes to the decoder."""
        if index in self._keyframes:
            self._packets[index] = bytes(packet)

    def passes(self, index: int, picture: Any) -> bool:
        """Whether the picture of a frame, the next in display order, may be intact."""
        if index not in self._looked_at:
            return True
        self._thumbnails[index] = thumbnail_of(Picture(picture))
        packet = self._packets.pop(index, None)
        return packet is None or not self._jumps(index) or self._uses_all(packet, picture)

    def _jumps(self, key: int) -> bool:
        thumbnails = [self._thumbnails.get(index) for index in self._before.get(key, ())]
        self._thumbnails = {index: kept for index, kept in self._thumbnails.items() if index >= key - 1}
        if len(thumbnails) < 2 or thumbnails[0] is None or thumbnails[1] is None:
            return True
        usual = _unexplained(thumbnails[0], thumbnails[1])
        return _unexplained(thumbnails[1], self._thumbnails[key]) > max(JUMP, JUMP_RATIO * usual)

    def _uses_all(self, packet: bytes, picture: Any) -> bool:
        place = largest_hevc_slice(packet, self._size_bytes)
        if place is None or not _tells(place[1] - place[0], picture):
            return True
        if not uses_tail("hevc", self._extradata, packet, place, picture):
            return False
        start, end = place
        size = (end - start + len(APPENDED)).to_bytes(self._size_bytes, "big") if self._size_bytes else b""
        longer = packet[: start - len(size)] + size + packet[start:end] + APPENDED + packet[end:]
        return _gives("hevc", self._extradata, longer, picture)


def uses_tail(codec: str, extradata: bytes | None, packet: bytes, place: tuple[int, int], picture: Any) -> bool:
    """Whether the picture of a keyframe depends on the last part of its data; true where that cannot be told.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream.
        place: where the data start and end in the packet.
        picture: as decoded.
    """
    start, end = place
    if not _tells(end - start, picture):
        return True
    tail = end - round(TAIL * (end - start))
    changed = packet[:tail] + bytes(byte ^ 0x55 for byte in packet[tail:end]) + packet[end:]
    return not _gives(codec, extradata, changed, picture)


def _tells(size: int, picture: Any) -> bool:
    return bool(size >= max(SMALLEST, FLAT * picture.width * picture.height / 8))


def _gives(codec: str, extradata: bytes | None, packet: bytes, picture: Any) -> bool:
    """Whether a packet, alone, gives the pixels of a picture."""
    context = av.CodecContext.create(codec, "r")
    context.extradata = extradata
    context.thread_count = 1
    try:
        pictures = [*context.decode(av.Packet(packet)), *context.decode(None)]
    except av.error.FFmpegError:
        return False
    return len(pictures) == 1 and same_pixels(pictures[0], picture)


def _unexplained(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean gray levels by which pixels lie outside of what was within two pixels of them before."""
    above = cv2.subtract(after, cv2.dilate(before, NEAR))
    below = cv2.subtract(cv2.erode(before, NEAR), after)
    return float(np.maximum(above, below).mean())
