"""libvpx in addition to FFmpeg's own decoders of VP8 and VP9, which accept almost any bits as a frame.

Nearly all damage changes how many bits of a packet the decoder consumes. FFmpeg's decoders ignore bits left over, and
continue past the end of the data. libvpx rejects a VP9 packet in both cases. For VP8, it is given packets with other
bytes after the end of each part, so that the results differ if a damaged frame consumes too many bits (see `VP8Check`
for frames that consume too few). Both decode intact packets to the same pixels.
"""

from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from facemill.pipeline.decode.damage.blockiness import Blockiness
from facemill.pipeline.decode.damage.single_packet import APPENDED, CHANGES, LEAST_TAIL, TAIL, changed_tail, uses_tail
from facemill.pipeline.decode.decoded_frame import same_pixels
from facemill.pipeline.decode.orientation import UPRIGHT
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import decode

__all__ = ["VP8Check", "decoder_for"]

# PyAV's libvpx supports 8 bits only.
_LAYOUT = "yuv420p"
LONGEST = 32
"""Packets after a keyframe of which each is tested in a damaged file: each test decodes those before it."""


def decoder_for(stream: Any, probed: Probe) -> Any:
    """The codec context that decodes the stream: libvpx for VP9, otherwise FFmpeg's own.

    libvpx's frames lack the file's orientation, so rotated files are decoded by FFmpeg.
    """
    own = stream.codec_context
    if own.name != "vp9" or probed.info.pix_fmt != _LAYOUT or probed.orientation != UPRIGHT:
        return own
    context = _libvpx("libvpx-vp9", stream)
    if context is None:
        return own
    context.thread_count = own.thread_count
    return _Splitting(context, stream)


class _Splitting:
    """Decodes the frames of a VP9 packet one by one: in a packet of several, libvpx tolerates data left over."""

    def __init__(self, context: Any, stream: Any) -> None:
        self.name = context.name
        self._context = context
        self._split = BitStreamFilterContext("vp9_superframe_split", stream)

    def decode(self, packet: Any) -> list[Any]:
        frames = [frame for part in self._split.filter(packet) for frame in self._context.decode(part)]
        return frames if packet is not None else frames + self._context.decode(None)


class VP8Check:
    """Finds damaged packets of VP8; accepts all packets of other codecs.

    libvpx decodes each packet with other bytes after both of its parts. Whether a frame depends on the last bytes is
    tested for keyframes, for conspicuous frames, and for all frames once a damaged one was found: the frames before it
    are decoded again.
    """

    def __init__(self, stream: Any) -> None:
        self._context = _libvpx("libvpx", stream) if stream.codec_context.name == "vp8" else None
        self._extradata = stream.codec_context.extradata
        self._blockiness = Blockiness()
        self._group: list[bytes] = []
        self._found_damage = self._group_damaged = False

    def agrees(self, packet: Any, frames: list[Any]) -> bool:
        """Whether the next packet may be intact.

        Args:
            packet: None at the end of the stream.
            frames: FFmpeg's frames for this packet.
        """
        if self._context is None:
            return True
        if packet is not None and packet.is_keyframe:
            self._group_damaged = False
        if self._group_damaged:
            return False
        self._group_damaged = not self._agrees(packet, frames)
        self._found_damage |= self._group_damaged
        return not self._group_damaged

    def _agrees(self, packet: Any, frames: list[Any]) -> bool:
        if packet is None:
            return not frames
        data = bytes(packet)
        end = _end_of_modes(data)
        longer = data
        if end < len(data):
            size = int.from_bytes(data[:3], "little") + (len(APPENDED) << 5)
            longer = size.to_bytes(4, "little")[:3] + data[3:end] + APPENDED + data[end:] + APPENDED
        others, went_well = decode(self._context, av.Packet(longer))
        if not went_well or len(others) != len(frames) or not all(map(same_pixels, frames, others)):
            return False
        if packet.is_keyframe:
            self._group = []
        self._group.append(data)
        if not frames:
            return True
        conspicuous = any(self._blockiness.look_at(frames[0]))
        if packet.is_keyframe:
            return uses_tail(self._extradata, data.rstrip(b"\0"), frames[0])
        if not conspicuous and (not self._found_damage or len(self._group) > LONGEST):
            return True
        return all(self._depends_on(data, to, frames[0]) for to in (end, len(data.rstrip(b"\0"))) if end < len(data))

    def _depends_on(self, data: bytes, end: int, frame: Any) -> bool:
        """Whether a frame depends on the bytes before `end`; true if there are few of them."""
        start = _end_of_modes(data) if end > _end_of_modes(data) else 3
        size = max(LEAST_TAIL, round(TAIL * (end - start)))
        if end - start < 4 * size:
            return True
        for change in CHANGES[:3]:
            changed = data[: end - size] + changed_tail(data[end - size : end], change) + data[end:]
            context = av.CodecContext.create("vp8", "r")
            context.thread_count = 1
            for earlier in self._group[:-1]:
                decode(context, av.Packet(earlier))
            frames, _ = decode(context, av.Packet(changed))
            if len(frames) != 1 or not same_pixels(frames[0], frame):
                return True
        return False


def _end_of_modes(data: bytes) -> int:
    """End of a VP8 frame's first part, which holds headers, modes and motion (RFC 6386, section 9.1)."""
    tag = int.from_bytes(data[:3], "little")
    return (3 if tag & 1 else 10) + (tag >> 5)


def _libvpx(name: str, stream: Any) -> Any:
    """A libvpx decoder; None if FFmpeg was built without libvpx."""
    try:
        context = av.CodecContext.create(name, "r")
    except ValueError:  # PyAV's UnknownCodecError
        return None
    context.extradata = stream.codec_context.extradata
    return context
