"""Finds damaged packets of HEVC: tests the first one, those of conspicuous frames, and all after known damage."""

from collections.abc import Callable
from typing import Any

from facemill.pipeline.decode.damage.blockiness import Blockiness
from facemill.pipeline.decode.damage.single_packet import hevc_bits_fit
from facemill.pipeline.decode.nal import hevc_parameters, length_size

__all__ = ["HevcCheck"]

BACK = 4
"""Packets before that of a frame with visible blocks, in decode order, that are tested with it."""
KEPT = 64
"""Packets that are kept to be tested, more than a decoder holds back."""


class HevcCheck:
    """Tests packets of an HEVC stream while it is decoded (see `hevc_bits_fit`); does nothing for other codecs.

    A test takes about twice as long as reading a frame, so that packets are tested only on suspicion.

    Args:
        stream: of the file.
        mark_damaged: called with the index of each damaged packet's frame.
    """

    def __init__(self, stream: Any, mark_damaged: Callable[[int], None]) -> None:
        context = stream.codec_context
        self._applies = context.name == "hevc"
        self._mark_damaged = mark_damaged
        self._extradata = context.extradata
        self._size_bytes = length_size(context.extradata, at=21)
        self._parameters = b""
        self._blockiness = Blockiness()
        self._packets: dict[int, tuple[int, bytes]] = {}
        self._sent = 0
        self._is_damaged = False

    def sent(self, index: int, packet: Any) -> None:
        """Take the packet of a frame that is sent to the decoder, in decode order."""
        if not self._applies:
            return
        data = bytes(packet)
        if packet.is_keyframe:
            self._parameters = hevc_parameters(data, self._size_bytes) or self._parameters
        self._packets[index] = self._sent, data
        if self._is_damaged or not self._sent:
            self._test(index)
        self._sent += 1
        if len(self._packets) > KEPT:
            del self._packets[next(iter(self._packets))]

    def found_damage(self) -> None:
        """Test every packet from now on."""
        self._is_damaged = True

    def arrived(self, index: int, frame: Any) -> None:
        """Look at the frame that comes out of the decoder, in display order."""
        if not self._applies or self._is_damaged:
            return
        blocky, changed = self._blockiness.look_at(frame)
        if blocky or changed:
            own, _ = self._packets.get(index, (self._sent, b""))
            first = own - BACK if blocky else own
            for other in [other for other, (number, _) in self._packets.items() if number >= first]:
                self._test(other)

    def _test(self, index: int) -> None:
        _, packet = self._packets[index]
        if not hevc_bits_fit(self._extradata, packet, self._size_bytes, self._parameters):
            self._mark_damaged(index)
            self.found_damage()
