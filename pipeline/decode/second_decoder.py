"""libvpx beside FFmpeg's own decoders of VP8 and VP9, which take any bits for a picture.

Nearly all damage changes how many bits of a packet a picture takes. FFmpeg's decoders ignore what is left over, and go
on where there is nothing left. libvpx gives up a VP9 packet of either kind. Of VP8 it reads zeros past the end where
FFmpeg's decoder leaves the rest of the picture to what was in memory, so that the two differ where a damaged picture
takes too much; where it takes too little, only keyframes tell. Intact packets decode to the same pixels with both.
"""

from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from facemill.pipeline.decode.keyframe_check import uses_tail
from facemill.pipeline.decode.orientation import UPRIGHT
from facemill.pipeline.decode.picture import same_pixels
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import decode

__all__ = ["VP8Witness", "decoder_for"]

# PyAV's libvpx has no more than 8 bits.
_LAYOUT = "yuv420p"


def decoder_for(stream: Any, probed: Probe) -> Any:
    """The codec context that decodes the stream: libvpx for VP9, otherwise FFmpeg's own.

    libvpx's pictures do not carry the file's orientation: turned files are left to FFmpeg.
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
    """Decodes the pictures of a VP9 packet one by one: where there are several, libvpx lets data be left over."""

    def __init__(self, context: Any, stream: Any) -> None:
        self.name = context.name
        self._context = context
        self._split = BitStreamFilterContext("vp9_superframe_split", stream)

    def decode(self, packet: Any) -> list[Any]:
        pictures = [picture for part in self._split.filter(packet) for picture in self._context.decode(part)]
        return pictures if packet is not None else pictures + self._context.decode(None)


class VP8Witness:
    """Decodes the same packets with libvpx; agrees with whatever it is told of other codecs."""

    def __init__(self, stream: Any) -> None:
        self._context = _libvpx("libvpx", stream) if stream.codec_context.name == "vp8" else None

    def agrees(self, packet: Any, pictures: list[Any]) -> bool:
        """Whether the next packet gives the same pixels, and a keyframe uses all of it.

        Args:
            packet: None at the end of the stream.
            pictures: what FFmpeg's decoder made of it.
        """
        if self._context is None:
            return True
        others, went_well = decode(self._context, packet)
        if not went_well or len(others) != len(pictures) or not all(map(same_pixels, pictures, others)):
            return False
        if packet is None or not packet.is_keyframe or not pictures:
            return True
        data = bytes(packet).rstrip(b"\0")
        return uses_tail("vp8", self._context.extradata, data, (0, len(data)), pictures[0])


def _libvpx(name: str, stream: Any) -> Any:
    """A decoder; None where FFmpeg was built without libvpx."""
    try:
        context = av.CodecContext.create(name, "r")
    except ValueError:  # PyAV's UnknownCodecError
        return None
    context.extradata = stream.codec_context.extradata
    return context
