"""Reading frames with PyAV: the reference."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from facemill import VideoError
from facemill.manifests.records import Reason
from facemill.pipeline.decode.damage import DamageTracker
from facemill.pipeline.decode.deinterlace import deinterlaced
from facemill.pipeline.decode.frame import UNSPECIFIED, Frame
from facemill.pipeline.decode.keyframe_check import KeyframeCheck
from facemill.pipeline.decode.orientation import orientation_of
from facemill.pipeline.decode.picture import Observer, Picture, rgb_of
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.second_decoder import VP8Witness, decoder_for
from facemill.pipeline.decode.source import Deadline, blamed_on, decode, demux, open_video

__all__ = ["read_with_pyav"]

# Packets that may follow that of a frame before it comes out. H.264 and HEVC reorder by 16 pictures at most.
_PATIENCE = 32


def read_with_pyav(
    path: Path,
    probed: Probe,
    indices: Sequence[int],
    deadline: Deadline,
    threads: int,
    *,
    observer: Observer | None = None,
    every: bool = False,
    skip: bool = True,
    deinterlace: bool = False,
) -> Iterator[Frame]:
    """Decode from the start until the last of `indices` came out; only those become RGB.

    Args:
        path: the file that was probed.
        indices: ascending, unique, each below the frame count.
        deadline: restarted whenever a packet was read, a picture came out, or a frame was handed out.
        threads: of the decoder.
        observer: sees every intact picture that is decoded on the way, in display order, once.
        every: decode all pictures, to the end of the file; otherwise those that nobody asked for and no other
            picture needs are left out.
        skip: whether any may be left out.
        deinterlace: take the fields of interlaced pictures apart; then every picture is decoded.

    Raises:
        VideoError: what `open_video` raises; unreadable, where a picture cannot be converted.
    """
    deadline.restart()
    timeline = probed.timeline
    due = indices
    end = len(timeline.pts) if every else max(indices, default=-1) + 1
    if deinterlace:  # each picture needs its neighbours
        due = range(min(end + 1, len(timeline.pts)) if end else 0)
    elif observer is not None:
        spared = frozenset() if every else timeline.disposable.difference(indices)
        due = [index for index in range(end) if index not in spared]
    remaining = deque(due)
    wanted = frozenset(indices)
    pictures = _decode(path, probed, remaining, deadline, threads, skip=skip and not every and not deinterlace)
    with blamed_on(path):
        for index, frame in deinterlaced(pictures) if deinterlace else pictures:
            if index >= end:
                return
            picture = None if frame is None else _picture(path, frame, probed)
            if observer is not None and picture is not None:
                observer(index, picture)
                deadline.restart()
            if index in wanted:
                seconds = probed.timeline.seconds(index, probed.info.fps)
                yield Frame(index, seconds, None if picture is None else rgb_of(picture))
                deadline.restart()
            del frame, picture  # the decoder uses their memory again


def _decode(
    path: Path, probed: Probe, remaining: deque[int], deadline: Deadline, threads: int, *, skip: bool
) -> Iterator[tuple[int, Any]]:
    """The `remaining` indices, which it empties, and the picture of each; None where there is no intact one."""
    if probed.timeline.by_pts:
        # What is missing may be missing because of what was left out, or of an error in another thread.
        with suppress(_DamagedError):
            yield from _decode_by_pts(path, probed, remaining, deadline, threads, skip=skip, strict=True)
        yield from _decode_by_pts(path, probed, remaining, deadline, threads=1, skip=False, strict=False)
    else:
        yield from _decode_by_counting(path, probed, remaining, deadline)
    yield from ((index, None) for index in remaining)


class _DamagedError(Exception):
    """A picture did not come out intact."""


def _decode_by_pts(
    path: Path,
    probed: Probe,
    remaining: deque[int],
    deadline: Deadline,
    threads: int,
    *,
    skip: bool,
    strict: bool,
) -> Iterator[tuple[int, Any]]:
    """Hand out, and remove from `remaining`, picture after picture; if `strict`, stop where one is not intact."""
    if not remaining:
        return
    timeline = probed.timeline
    index_of = {pts: index for index, pts in enumerate(timeline.pts)}
    wanted = frozenset(remaining)
    tracker = DamageTracker(timeline.keyframes, timeline.disposable, timeline.after_loss)
    arrived: dict[int, Any] = {}
    decided: dict[int, Any] = {}
    with open_video(path, deadline, threads, strict=strict, conforming=probed.conforming) as (container, stream):
        context = decoder_for(stream, probed)
        keyframe_check = KeyframeCheck(stream, timeline)
        for packet in demux(container, stream, deadline):
            if packet is not None:
                index = index_of.get(packet.pts)
                if skip and index not in wanted and index in timeline.disposable:
                    continue
                if index is not None:
                    tracker.sent(index)
                    keyframe_check.sent(index, packet)
            pictures, went_well = decode(context, packet)
            if not went_well:
                if strict:
                    raise _DamagedError
                if packet is not None and index is not None:
                    tracker.doubt(index)
            for picture in pictures:
                deadline.restart()
                index = index_of.get(picture.pts)
                if index is not None:
                    clean = not picture.is_corrupt and keyframe_check.passes(index, picture)
                    tracker.arrived(index, clean=clean)
                    if index in wanted:
                        arrived[index] = picture
            for index, intact in tracker.settle(0 if packet is None else _PATIENCE + threads):
                if strict and not intact:
                    raise _DamagedError
                if index in wanted:
                    picture = arrived.pop(index, None)
                    decided[index] = picture if intact else None
            while remaining and remaining[0] in decided:
                index = remaining.popleft()
                yield index, decided.pop(index)
            if not remaining:
                return
            del pictures
            picture = None


def _decode_by_counting(
    path: Path, probed: Probe, remaining: deque[int], deadline: Deadline
) -> Iterator[tuple[int, Any]]:
    """As the probe counted: one thread, nothing left out; after damage, nothing is intact until a keyframe."""
    index = 0
    intact = True
    with open_video(path, deadline, threads=1) as (container, stream):
        witness = VP8Witness(stream)
        for number, packet in enumerate(demux(container, stream, deadline)):
            pictures, went_well = decode(stream.codec_context, packet)
            went_well = witness.agrees(packet, pictures) and went_well
            intact = intact and went_well and number not in probed.timeline.after_loss
            for picture in pictures:
                deadline.restart()
                intact = not picture.is_corrupt and (intact or (picture.key_frame and went_well))
                if remaining and index == remaining[0]:
                    yield remaining.popleft(), picture if intact else None
                index += 1
            if not remaining:
                return


def _picture(path: Path, frame: Any, probed: Probe) -> Picture:
    info, colour = probed.info, probed.info.colour
    if frame.colorspace == UNSPECIFIED:
        frame.colorspace = colour.matrix
    if frame.color_range == 0:
        frame.color_range = colour.range
    # A picture whose side data was looked at holds itself: its memory would wait for Python's collector of cycles.
    orientation = probed.orientation if frame.rotation == probed.angle else orientation_of(frame)
    picture = Picture(frame, info.pixel_aspect, orientation)
    width, height = picture.size
    if (width, height) != (info.width, info.height):
        raise VideoError(
            Reason.UNREADABLE,
            f"{path} holds pictures of {width}x{height} after others of {info.width}x{info.height}: "
            "cut the file where its size changes.",
        )
    return picture
