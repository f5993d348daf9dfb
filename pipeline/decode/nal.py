"""H.264 packets: is this a picture that no other is predicted from?"""

from collections.abc import Iterator

__all__ = ["is_disposable", "length_size"]

_SLICE = 1
# Supplemental information, access unit delimiter, filler: nothing that a later picture needs.
_HARMLESS = frozenset({6, 9, 12})


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit (avcC, as in MP4); 0 for start codes (Annex B)."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def is_disposable(packet: bytes, size_bytes: int) -> bool:
    """Whether leaving the packet out changes no other picture.

    That is where every slice says `nal_ref_idc = 0` and nothing but slices and remarks is in the packet.

    Args:
        packet: one access unit.
        size_bytes: what `length_size` said.
    """
    headers = list(_prefixed(packet, size_bytes) if size_bytes else _start_coded(packet))
    slices = [header for header in headers if header & 31 not in _HARMLESS]
    return bool(slices) and all(header & 31 == _SLICE and header >> 5 & 3 == 0 for header in slices)


def _prefixed(packet: bytes, size_bytes: int) -> Iterator[int]:
    position = 0
    while position + size_bytes < len(packet):
        yield packet[position + size_bytes]
        position += size_bytes + int.from_bytes(packet[position : position + size_bytes], "big")


def _start_coded(packet: bytes) -> Iterator[int]:
    position = packet.find(b"\0\0\1") + 3
    while 3 <= position < len(packet):
        yield packet[position]
        position = packet.find(b"\0\0\1", position) + 3
