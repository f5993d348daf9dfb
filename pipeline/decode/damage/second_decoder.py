"""libvpx in addition to FFmpeg's own decoders of VP8 and VP9, which accept almost any bits as a frame.

Nearly all damage changes how many bits of a packet the decoder consumes. FFmpeg's decoders ignore bits left over, and
continue past the end of the data. libvpx rejects a VP9 packet in both cases. For VP8, libvpx reads zeros past the end,
while FFmpeg's decoder leaves the rest of the frame as it was in memory: the results differ if a damaged frame consumes
too many bits. If it consumes too few, only keyframes show it. Both decode intact packets to the same pixels.
"""

from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from facemill.pipeline.decode.damage.single_packet import uses_tail
from facemill.pipeline.decode.decoded_frame import same_pixels
from facemill.pipeline.decode.orientation import UPRIGHT
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import decode

__all__ = ["VP8Check", "decoder_for"]

# PyAV's libvpx supports 8 bits only.
_LAYOUT = "yuv420p"


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
    """Compares FFmpeg's decoder with libvpx on each VP8 packet; accepts all packets of other codecs."""

    def __init__(self, stream: Any) -> None:
        self._context = _libvpx("libvpx", stream) if stream.codec_context.name == "vp8" else None

    def agrees(self, packet: Any, frames: list[Any]) -> bool:
        """Whether both decoders give the same pixels for the next packet, and a keyframe uses all of its data.

        Args:
            packet: None at the end of the stream.
            frames: FFmpeg's frames for this packet.
        """
        if self._context is None:
            return True
        others, went_well = decode(self._context, packet)
        if not went_well or len(others) != len(frames) or not all(map(same_pixels, frames, others)):
            return False
        if packet is None or not packet.is_keyframe or not frames:
            return True
        return uses_tail("vp8", self._context.extradata, bytes(packet).rstrip(b"\0"), frames[0])


def _libvpx(name: str, stream: Any) -> Any:
    """A libvpx decoder; None if FFmpeg was built without libvpx."""
    try:
        context = av.CodecContext.create(name, "r")
    except ValueError:  # PyAV's UnknownCodecError
        return None
    context.extradata = stream.codec_context.extradata
    return context
