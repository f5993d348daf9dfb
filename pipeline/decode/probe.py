"""Probing: reads every packet of a file and decodes as few frames as possible."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from facemill import VideoError
from facemill.manifests.codes import Reason
from facemill.pipeline.decode.decoded_frame import SQUARE, square_size
from facemill.pipeline.decode.frame import UNSPECIFIED, Colour, VideoInfo
from facemill.pipeline.decode.nal import FrameNumbers, is_disposable, length_size
from facemill.pipeline.decode.orientation import Orientation, orientation_of
from facemill.pipeline.decode.source import (
    Deadline,
    check_memory,
    check_readable,
    decode,
    demux,
    is_conforming,
    open_video,
)
from facemill.pipeline.decode.timeline import Timeline, measured_fps, skipped_times, varies

__all__ = ["Probe", "probe"]

# Codecs in which every packet shows exactly one frame. VP8 has hidden frames, so only decoding shows the number;
# an MPEG-4 Part 2 packet may hold two frames, or none.
_ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d", "ffv1", "mjpeg", "prores"})
VOP = b"\0\0\1\xb6"
"""Start code of a frame in MPEG-4 Part 2 (ISO/IEC 14496-2)."""
LONGEST_EMPTY = 19
"""Largest size in bytes at which FFmpeg treats an MPEG-4 Part 2 packet as one without a frame."""
# Codecs whose frames depend on earlier ones without numbering them: only time stamps show that one is missing.
_TOLD_BY_TIME = frozenset({"vp8", "vp9", "av1", "libdav1d", "mpeg4", "msmpeg4v3", "h263", "flv1"})

UNTAGGED = Colour()
SEGMENT = bytes.fromhex("18538067")
"""Element ID of the segment that contains a Matroska file's data (RFC 9559)."""
HDR = {16: "PQ", 18: "HLG"}
CONVERTED = frozenset({0, 1, UNSPECIFIED, 4, 5, 6, 7, 9})
"""Colour matrices that FFmpeg converts to RGB; YCgCo, SMPTE 2085, ICtCp and others are not converted."""
WIDEST_PIXEL = Fraction(4)
"""Largest pixel aspect ratio (width / height, or its inverse) that is accepted."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A file's `VideoInfo`, and what else the backends need.

    Attributes:
        angle: PyAV's rotation of the first frame; `orientation` is read from its side data.
        container: FFmpeg's name of the file format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
        conforming: AV1: whether the file conforms to the standard, so that any violation means damage.
    """

    info: VideoInfo
    timeline: Timeline
    orientation: Orientation
    angle: int
    container: str
    conforming: bool


@dataclass(frozen=True, slots=True)
class _Packet:
    pts: int | None
    dts: int | None
    shown: bool
    keyframe: bool
    disposable: bool
    after_loss: bool
    one_frame: bool


def probe(path: Path, deadline: Deadline, colour: Colour = UNTAGGED) -> Probe:
    """Probe a file.

    Args:
        path: of a regular file.
        deadline: restarted with every packet.
        colour: replaces colour tags that the file leaves unspecified.

    Raises:
        VideoError: missing_file, unreadable (also if no frame decodes), no_video_stream or decode_timeout.
    """
    conforming = False
    with open_video(path, deadline, threads=1) as (container, stream):
        if stream.codec_context.codec.canonical_name == "av1":
            conforming = is_conforming(path, deadline)
        packets, first = _scan(container, stream, deadline)
        if first is None:
            check_memory()
            check_readable(path, deadline)
            raise VideoError(
                Reason.UNREADABLE, f"No frame of {path} decodes: replace the file, it is damaged or too large."
            )
        timeline = _by_packets(packets, first, stream)
        declared = stream.frames if stream.frames > 0 else _frames_of_cut_matroska(path, container, stream)
        if (declared or 0) > len(packets):
            check_readable(path, deadline)
        if timeline is not None and not first.interlaced_frame:
            declared = declared and declared - (len(packets) - len(timeline.pts))
            return _describe(path, timeline, declared, first, stream, colour, conforming)
        if _numbers_packets(stream) and packets[0].keyframe and all(packet.one_frame for packet in packets):
            return _describe(
                path, _counted([None] * len(packets), packets, stream), declared, first, stream, colour, conforming
            )
    with open_video(path, deadline, threads=1) as (container, stream):
        counted = _counted(_decoded_times(container, stream, deadline), packets, stream)
        if timeline is not None and timeline.pts == counted.pts:  # each packet held both fields of a frame
            counted = timeline
        return _describe(path, counted, declared, first, stream, colour, conforming)


def _scan(container: Any, stream: Any, deadline: Deadline) -> tuple[list[_Packet], Any]:
    """All packets, and the first frame that the decoder returns."""
    is_h264, is_mpeg4 = (stream.codec_context.name == name for name in ("h264", "mpeg4"))
    one = stream.codec_context.name in _ONE_FRAME_PER_PACKET
    size_bytes = length_size(stream.codec_context.extradata)
    numbers = FrameNumbers(stream.codec_context.extradata)
    packets = []
    first = None
    for packet in demux(container, stream, deadline):
        if first is None:
            first = next(iter(decode(stream.codec_context, packet)[0]), None)
        if packet is not None:
            data = bytes(packet) if is_h264 else b""
            disposable, after_loss = is_disposable(data, size_bytes), numbers.lost_before(data)
            shown = not packet.is_discard
            if is_mpeg4:
                one = packet.size > LONGEST_EMPTY and bytes(packet).count(VOP) == 1
            packets.append(_Packet(packet.pts, packet.dts, shown, packet.is_keyframe, disposable, after_loss, one))
    if stream.codec_context.name in _TOLD_BY_TIME:
        for number in skipped_times([packet.dts for packet in packets], stream.time_base):
            packets[number] = replace(packets[number], after_loss=True)
    return packets, first


def _by_packets(packets: list[_Packet], first: Any, stream: Any) -> Timeline | None:
    """The timeline, if each packet holds exactly one frame and has a pts of its own; else None."""
    shown = {packet.pts: packet for packet in packets if packet.shown}
    in_order = not _numbers_packets(stream) or all(packet.keyframe for packet in packets)
    if (
        not in_order
        or not all(packet.one_frame for packet in packets)
        or None in shown
        or len(shown) != sum(packet.shown for packet in packets)
        or first.pts not in shown
    ):
        return None
    # A recording cut out of a longer one may start with frames whose reference frames are missing.
    start = min((packet.pts for packet in packets if packet.keyframe and packet.pts is not None), default=first.pts)
    pts = sorted(time for time in shown if time is not None and time >= min(start, first.pts))
    index_of = {time: index for index, time in enumerate(pts)}
    return Timeline(
        pts=tuple(pts),
        time_base=stream.time_base,
        by_pts=True,
        keyframes=frozenset(index_of[time] for time in pts if shown[time].keyframe),
        before_keyframes=_before_keyframes(packets, index_of),
        disposable=frozenset(index_of[time] for time in pts if shown[time].disposable),
        after_loss=frozenset(index_of[time] for time in pts if shown[time].after_loss),
    )


def _before_keyframes(packets: list[_Packet], index_of: dict[int, int]) -> dict[int, int]:
    before = {}
    last = -1
    for packet in packets:
        index = index_of.get(packet.pts) if packet.pts is not None else None
        if index is None:
            continue
        if packet.keyframe and last >= 0:
            before[index] = last
        last = max(last, index)
    return before


def _decoded_times(container: Any, stream: Any, deadline: Deadline) -> list[int | None]:
    pts = []
    for packet in demux(container, stream, deadline):
        for frame in decode(stream.codec_context, packet)[0]:
            pts.append(frame.pts)
            deadline.restart()
    return pts


def _counted(pts: list[int | None], packets: list[_Packet], stream: Any) -> Timeline:
    """The timeline of frames that are identified by counting the decoder's output.

    Times that go back, as after a splice, or that some frames lack, are no clock: no frame gets one of them.
    """
    known = [time for time in pts if time is not None]
    is_clock = known == sorted(known) and len(known) == len(pts) and not _numbers_packets(stream)
    return Timeline(
        pts=tuple(pts) if is_clock else (None,) * len(pts),
        time_base=stream.time_base,
        by_pts=False,
        after_loss=frozenset(number for number, packet in enumerate(packets) if packet.after_loss),
    )


def _numbers_packets(stream: Any) -> bool:
    """Whether FFmpeg only numbers the packets in decode order, as for AVI, which has no presentation times."""
    return bool(stream.container.format.name == "avi")


def _describe(
    path: Path, timeline: Timeline, declared: int | None, first: Any, stream: Any, colour: Colour, conforming: bool
) -> Probe:
    times = [time for time in timeline.pts if time is not None]
    tagged = _colour_of(first, colour)
    if tagged.transfer in HDR:
        raise VideoError(
            Reason.UNREADABLE, f"{path} is HDR ({HDR[tagged.transfer]}): convert it to BT.709 with a tone mapping."
        )
    if tagged.matrix not in CONVERTED and not first.format.name.startswith("gray"):
        raise VideoError(
            Reason.UNREADABLE,
            f"{path} has a colour matrix that FFmpeg does not convert (number {tagged.matrix} of ITU-T H.273): "
            "convert it to BT.709.",
        )
    orientation = orientation_of(first, stream.codec_context.name)
    aspect = _pixel_aspect(stream)
    size = square_size(first.width, first.height, aspect)
    width, height = size[::-1] if orientation.transpose else size
    info = VideoInfo(
        frame_count=len(timeline.pts),
        declared_frames=declared,
        fps=_fps(measured_fps(times, timeline.time_base), stream.average_rate),
        width=width,
        height=height,
        rotation=orientation.rotation,
        variable_rate=varies(times, timeline.time_base),
        codec=stream.codec_context.codec.canonical_name,
        pix_fmt=first.format.name,
        coded_width=first.width,
        coded_height=first.height,
        pixel_aspect=aspect,
        colour=tagged,
        interlaced=bool(first.interlaced_frame),
        profile=stream.codec_context.profile or "",
        other_streams=sum(_is_moving(other) for other in stream.container.streams.video) - 1,
    )
    return Probe(info, timeline, orientation, first.rotation, stream.container.format.name, conforming)


def _frames_of_cut_matroska(path: Path, container: Any, stream: Any) -> int | None:
    """Expected frame count, from the duration, of a Matroska or WebM file whose end is missing; else None.

    The header has no frame count, but it has the size of the segment that contains all data.
    """
    if "matroska" not in container.format.name or not container.duration or not stream.average_rate:
        return None
    with path.open("rb") as file:
        head = file.read(4096)
    start = head.find(SEGMENT) + len(SEGMENT)
    if start < len(SEGMENT) or start >= len(head) or not head[start]:
        return None
    length = 9 - head[start].bit_length()  # of the size field, which has 7 bits per byte
    size = int.from_bytes(head[start : start + length], "big") & ((1 << 7 * length) - 1)
    if size == (1 << 7 * length) - 1 or start + length + size <= path.stat().st_size:  # unknown, as in live streams
        return None
    return round(float(container.duration) / 1_000_000 * float(stream.average_rate))


def _is_moving(stream: Any) -> bool:
    return not stream.disposition & stream.disposition.attached_pic


def _colour_of(frame: Any, otherwise: Colour) -> Colour:
    def tag(own: int, other: int, unknown: int) -> int:
        return other if int(own) == unknown else int(own)

    return Colour(
        matrix=tag(frame.colorspace, otherwise.matrix, UNSPECIFIED),
        range=tag(frame.color_range, otherwise.range, 0),
        primaries=tag(frame.color_primaries, otherwise.primaries, UNSPECIFIED),
        transfer=tag(frame.color_trc, otherwise.transfer, UNSPECIFIED),
    )


def _pixel_aspect(stream: Any) -> Fraction:
    """Pixel aspect ratio from the container, else from the codec; 1 if neither declares one.

    Raises:
        VideoError: unreadable, if the ratio is implausible.
    """
    aspect = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if aspect <= 0 or aspect == SQUARE:
        return SQUARE
    if not 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL:
        raise VideoError(
            Reason.UNREADABLE,
            f"{stream.container.name} declares a pixel aspect ratio of {aspect}: set its sample aspect ratio.",
        )
    return aspect


def _fps(measured: float, declared: Fraction | None) -> float:
    """The header's frame rate if it fits the measured one: it is exact, while time stamps are rounded."""
    if declared and (not measured or abs(float(declared) / measured - 1) < 0.01):
        return float(declared)
    return measured
