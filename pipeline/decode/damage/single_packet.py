"""Whether a frame uses all bits of its packet and no more, found by decoding the packet alone.

FFmpeg's decoders of HEVC and VP8 report little damage, but it nearly always changes how many bits of a packet the
decoder consumes. An intact frame depends on the last bits of its packet and on nothing after them. A damaged frame
either consumes too few bits, and does not depend on the last ones, or consumes more than there are, and depends on
what follows.

An HEVC packet can be tested without other packets, except for the parameter sets: which bits the decoder consumes does
not depend on the frames that this one is predicted from, which FFmpeg replaces by gray ones.
"""

from typing import Any

import av

from facemill.pipeline.decode.decoded_frame import same_pixels
from facemill.pipeline.decode.nal import hevc_slices

__all__ = ["APPENDED", "CHANGES", "LEAST_TAIL", "TAIL", "changed_tail", "hevc_bits_fit", "uses_tail"]

TAIL = 0.02
"""Share of the data, at its end, that is changed. A few bytes may encode nothing visible, such as a black bar."""
LEAST_TAIL = 8
"""Fewest bytes of a slice that are changed, if it has twice as many."""
CHANGES = (0x55, 0xFF, 0xA3, 0x1C, 0x6B, 0xF0)
"""Changes that are tried in turn: each may by chance encode the same pixels, above all in a small packet."""
APPENDED = bytes([0xA5]) * 64
FLAT = 0.05
"""Bits per pixel below which a VP8 keyframe is not tested: other bits may give the same black frame."""
SMALLEST = 400
"""Bytes below which a VP8 keyframe is not tested."""


def hevc_bits_fit(extradata: bytes | None, packet: bytes, size_bytes: int, parameters: bytes = b"") -> bool:
    """Whether each slice of an HEVC packet is as long as its frame requires; true if that cannot be determined.

    Args:
        extradata: of the stream.
        packet: one access unit.
        size_bytes: of the length before each NAL unit, from `length_size`.
        parameters: NAL units in the packet's form that hold the parameter sets, if `extradata` does not.
    """
    frame = _alone("hevc", extradata, parameters + packet)
    if frame is None:
        return True
    slices = hevc_slices(packet, size_bytes)
    longer = packet
    for start, end in reversed(slices):
        longer = _replaced(longer, start, end, packet[start:end] + APPENDED, size_bytes)
    # With two threads, each row of blocks begins where the slice header says, if the encoder has stored that.
    if not _same(frame, _alone("hevc", extradata, parameters + longer, threads=2)):
        return False
    return all(_uses_slice(frame, extradata, packet, place, parameters) for place in slices)


def _uses_slice(frame: Any, extradata: bytes | None, packet: bytes, place: tuple[int, int], parameters: bytes) -> bool:
    start, end = place
    size = max(LEAST_TAIL, round(TAIL * (end - start)))
    if end - start < 2 * size:
        return True
    for change in CHANGES:
        changed = packet[: end - size] + changed_tail(packet[end - size : end], change) + packet[end:]
        if not _same(frame, _alone("hevc", extradata, parameters + changed)):
            return True
    return False


def changed_tail(tail: bytes, change: int) -> bytes:
    """Other bytes, none of which is zero: zeros could look like the end of the data."""
    return bytes((byte ^ (37 * place * change + change) & 0xFF) or 1 for place, byte in enumerate(tail))


def uses_tail(extradata: bytes | None, packet: bytes, frame: Any) -> bool:
    """Whether a VP8 keyframe depends on the last part of its packet; true if that cannot be determined.

    Args:
        extradata: of the stream.
        frame: the decoded keyframe.
    """
    if len(packet) < max(SMALLEST, FLAT * frame.width * frame.height / 8):
        return True
    tail = len(packet) - round(TAIL * len(packet))
    changed = packet[:tail] + bytes(byte ^ 0x55 for byte in packet[tail:])
    return not _same(frame, _alone("vp8", extradata, changed))


def _replaced(packet: bytes, start: int, end: int, unit: bytes, size_bytes: int) -> bytes:
    size = len(unit).to_bytes(size_bytes, "big") if size_bytes else b""
    return packet[: start - size_bytes] + size + unit + packet[end:]


def _alone(codec: str, extradata: bytes | None, packet: bytes, threads: int = 1) -> Any:
    """The frame of one packet, decoded without others; None if there is not exactly one."""
    context = av.CodecContext.create(codec, "r")
    context.extradata = extradata
    context.thread_count = threads
    context.thread_type = "SLICE"
    # A frame that is predicted from missing ones is returned, too.
    context.flags |= av.codec.context.Flags.output_corrupt
    try:
        frames = [*context.decode(av.Packet(packet)), *context.decode(None)]
    except av.error.FFmpegError:
        return None
    return frames[0] if len(frames) == 1 else None


def _same(one: Any, other: Any) -> bool:
    return other is not None and same_pixels(one, other)
