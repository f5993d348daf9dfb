"""NAL units of H.264 (whether a frame is disposable or follows missing frames) and of HEVC (its slices)."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FrameNumbers", "hevc_parameters", "hevc_slices", "is_disposable", "length_size", "nal_units"]

_SLICE, _IDR, _SEQUENCE_PARAMETERS = 1, 5, 7
# Supplemental enhancement information, access unit delimiter, filler: no later frame needs them.
_HARMLESS = frozenset({6, 9, 12})
_WITH_CHROMA_FORMAT = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def length_size(extradata: bytes | None, at: int = 4) -> int:
    """Size in bytes of the length field before each NAL unit, as in MP4; 0 for start codes (Annex B).

    Args:
        at: its position in the extradata: 4 in avcC, 21 in hvcC.
    """
    return (extradata[at] & 3) + 1 if extradata and len(extradata) > at and extradata[0] == 1 else 0


def nal_units(packet: bytes, size_bytes: int) -> list[tuple[int, int]]:
    """Start (at the header) and end (without trailing zeros) of each NAL unit of a packet."""
    starts = list(_units(packet, size_bytes))
    ends = [start - (size_bytes or 3) for start in starts[1:]] + [len(packet)]
    return [(a, a + len(packet[a:b].rstrip(b"\0"))) for a, b in zip(starts, ends, strict=True)]


def hevc_slices(packet: bytes, size_bytes: int) -> list[tuple[int, int]]:
    """Start and end of each slice of an HEVC packet, as in `nal_units`."""
    return [(start, end) for start, end in nal_units(packet, size_bytes) if packet[start] >> 1 & 63 < 32]


def hevc_parameters(packet: bytes, size_bytes: int) -> bytes:
    """The NAL units of an HEVC packet that hold parameter sets, in the form of the packet."""
    units = [(start, end) for start, end in nal_units(packet, size_bytes) if packet[start] >> 1 & 63 in (32, 33, 34)]
    return b"".join(
        ((end - start).to_bytes(size_bytes, "big") if size_bytes else b"\0\0\1") + packet[start:end]
        for start, end in units
    )


def is_disposable(packet: bytes, size_bytes: int) -> bool:
    """Whether leaving the packet out changes no other frame.

    That is the case if every slice has `nal_ref_idc = 0` and all other NAL units are harmless to leave out.

    Args:
        packet: one access unit.
        size_bytes: from `length_size`.
    """
    headers = [packet[start] for start in _units(packet, size_bytes)]
    slices = [header for header in headers if header & 31 not in _HARMLESS]
    return bool(slices) and all(header & 31 == _SLICE and header >> 5 & 3 == 0 for header in slices)


@dataclass(frozen=True, slots=True)
class _Numbering:
    """How a sequence parameter set defines `frame_num`."""

    bits: int
    separate_planes: bool
    may_skip: bool


class FrameNumbers:
    """Tracks the `frame_num` of slices, which counts reference frames, to detect missing ones.

    Args:
        extradata: of the stream.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._size_bytes = length_size(extradata)
        self._numbering: _Numbering | None = None
        self._last: int | None = None
        if extradata and self._size_bytes:  # avcC: sets of 2 bytes of length each, after 6 bytes
            self._take_parameters(extradata[8:])
        elif extradata:
            self.lost_before(extradata)

    def lost_before(self, packet: bytes) -> bool:
        """Whether a reference frame is missing before this packet; call it for every packet of the stream, in order."""
        for start in _units(packet, self._size_bytes):
            kind = packet[start] & 31
            if kind == _SEQUENCE_PARAMETERS:
                self._take_parameters(packet[start:])
            elif kind in (_SLICE, _IDR) and self._numbering is not None:
                try:
                    number = self._number(packet[start:], self._numbering)
                except IndexError:  # a damaged header: a frame may be missing
                    return True
                return self._skips(number, packet[start], self._numbering)
        return False

    def _take_parameters(self, unit: bytes) -> None:
        try:
            self._numbering = _numbering(unit)
        except IndexError:  # cut short
            self._numbering = None

    @staticmethod
    def _number(unit: bytes, numbering: _Numbering) -> int:
        bits = _Bits(unit[1:24])
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.golomb()
        return bits.take(numbering.bits + 2 * numbering.separate_planes) & ((1 << numbering.bits) - 1)

    def _skips(self, number: int, header: int, numbering: _Numbering) -> bool:
        last = self._last
        if header >> 5 & 3 or last is None:
            self._last = number
        if header & 31 == _IDR or last is None or numbering.may_skip:
            return False
        return (number - last) % (1 << numbering.bits) > 1


class _Bits:
    """Reads the bits of a NAL unit from its start."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")  # emulation prevention bytes
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError("The NAL unit ends early.")
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number, `ue(v)`."""
        zeros = self._left - (self._value & ((1 << self._left) - 1)).bit_length()
        return self.take(2 * zeros + 1) - 1


def _numbering(unit: bytes) -> _Numbering | None:
    """Parse a sequence parameter set; None if it has scaling matrices or a rare frame order, which are not supported.

    Raises:
        IndexError: it is truncated.
    """
    bits = _Bits(unit[1:64])
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    separate = False
    if profile in _WITH_CHROMA_FORMAT:
        separate = bits.golomb() == 3 and bool(bits.take(1))
        bits.golomb()
        bits.golomb()
        if bits.take(2) & 1:
            return None
    number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 1:
        return None
    if order == 0:
        bits.golomb()
    bits.golomb()
    return _Numbering(number_bits, separate, bool(bits.take(1)))


def _units(packet: bytes, size_bytes: int) -> Iterator[int]:
    """Yield the start of each NAL unit, at its header."""
    if size_bytes:
        position = 0
        while position + size_bytes < len(packet):
            yield position + size_bytes
            position += size_bytes + int.from_bytes(packet[position : position + size_bytes], "big")
    else:
        position = packet.find(b"\0\0\1") + 3
        while 3 <= position < len(packet):
            yield position
            position = packet.find(b"\0\0\1", position) + 3
