"""Whether the keyframes of an HEVC stream are intact, of which FFmpeg's decoder says little.

Damage nearly always changes how many bits of a packet a picture takes. An intact picture depends on the last bits of
its packet and on nothing that follows them. A damaged one takes too few, and is the same whatever the last bits are, or
takes more than there are, and depends on what follows. So keyframes are decoded twice more: with other last bytes, and
with bytes appended. That is done for the first one, and for those that jump: every frame up to the next keyframe shows
their damage.
"""

from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.decode.nal import largest_hevc_slice, length_size
from facemill.pipeline.decode.picture import Picture, same_pixels, thumbnail_of
from facemill.pipeline.decode.timeline import Timeline

__all__ = ["KeyframeCheck"]

JUMP = 0.05
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
        if place is None:
            return True
        start, end = place
        if end - start < max(SMALLEST, FLAT * picture.width * picture.height / 8):
            return True
        tail = end - round(TAIL * (end - start))
        changed = packet[:tail] + bytes(byte ^ 0x55 for byte in packet[tail:end]) + packet[end:]
        size = (end - start + len(APPENDED)).to_bytes(self._size_bytes, "big") if self._size_bytes else b""
        longer = packet[: start - len(size)] + size + packet[start:end] + APPENDED + packet[end:]
        return not self._same(changed, picture) and self._same(longer, picture)

    def _same(self, packet: bytes, picture: Any) -> bool:
        """Whether a packet, alone, gives the pixels of a picture."""
        context = av.CodecContext.create("hevc", "r")
        context.extradata = self._extradata
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
