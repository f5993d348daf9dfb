"""Reading frames with PyAV, the reference backend."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from facemill import VideoError
from facemill.manifests.codes import Reason
from facemill.pipeline.decode.damage.hevc_check import HevcCheck
from facemill.pipeline.decode.damage.second_decoder import VP8Check, decoder_for
from facemill.pipeline.decode.damage.tracker import DamageTracker
from facemill.pipeline.decode.decoded_frame import DecodedFrame, Observer, rgb_of
from facemill.pipeline.decode.deinterlace import deinterlaced
from facemill.pipeline.decode.frame import UNSPECIFIED, Frame
from facemill.pipeline.decode.orientation import orientation_of
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import Deadline, blamed_on, check_memory, decode, demux, open_video

if TYPE_CHECKING:
    from facemill.pipeline.decode.nvdec import Nvdec

__all__ = ["read_with_pyav"]

# Packets that may be sent after a frame's own packet before it comes out. H.264 and HEVC reorder at most 16 frames.
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
    nvdec: "Nvdec | None" = None,
) -> Iterator[Frame]:
    """Decode from the start to the last of `indices`; convert only these frames to RGB.

    Args:
        path: the file that was probed.
        indices: ascending, unique, each below the frame count.
        deadline: restarted whenever a packet is read, a frame is decoded, or a frame is yielded.
        threads: number of decoder threads.
        observer: called once for every intact frame that is decoded, in display order.
        every: decode all frames, to the end of the file; otherwise frames that were not requested and that no other
            frame is predicted from are skipped.
        skip: whether frames may be skipped.
        deinterlace: deinterlace interlaced frames; every frame is decoded then.
        nvdec: decodes instead of the CPU, until it fails.

    Raises:
        VideoError: as `open_video`; unreadable, if a frame cannot be converted.
    """
    deadline.restart()
    timeline = probed.timeline
    due = indices
    end = len(timeline.pts) if every else max(indices, default=-1) + 1
    if deinterlace:  # each frame needs its neighbours
        due = range(min(end + 1, len(timeline.pts)) if end else 0)
    elif observer is not None:
        spared = frozenset() if every else timeline.disposable.difference(indices)
        due = [index for index in range(end) if index not in spared]
    remaining = deque(due)
    wanted = frozenset(indices)
    skip = skip and not every and not deinterlace
    frames = _decode(_Task(path, probed, remaining, deadline), threads, skip=skip, nvdec=nvdec)
    with blamed_on(path):
        for index, frame in deinterlaced(frames) if deinterlace else frames:
            if index >= end:
                return
            if frame is None:
                check_memory()
            decoded = None if frame is None else _decoded_frame(path, frame, probed)
            if observer is not None and decoded is not None:
                observer(index, decoded)
                deadline.restart()
            if index in wanted:
                seconds = probed.timeline.seconds(index, probed.info.fps)
                yield Frame(index, seconds, None if decoded is None else rgb_of(decoded))
                deadline.restart()
            del frame, decoded  # the decoder uses their memory again


class _Task(NamedTuple):
    """Frames of a probed file to decode; `remaining` loses each index that is done."""

    path: Path
    probed: Probe
    remaining: deque[int]
    deadline: Deadline


def _decode(task: _Task, threads: int, *, skip: bool, nvdec: "Nvdec | None") -> Iterator[tuple[int, Any]]:
    """Yield each remaining index and its frame; None if the frame is not intact."""
    if nvdec is not None and not nvdec.failure:
        try:
            yield from _decode_by_pts(task, 1, skip=skip, strict=True, nvdec=nvdec)
        except Exception as error:  # whatever a GPU, its driver or its memory does, the CPU decodes the rest
            nvdec.fail(error)
            task.deadline.restart()
    if task.probed.timeline.by_pts:
        # A frame may be damaged only because others were skipped, or by an error in another thread: retry without both.
        with suppress(_DamagedError):
            yield from _decode_by_pts(task, threads, skip=skip, strict=True)
        yield from _decode_by_pts(task, threads=1, skip=False, strict=False)
    else:
        yield from _decode_by_counting(task)
    yield from ((index, None) for index in task.remaining)


class _DamagedError(Exception):
    """A frame was not decoded intact."""

    def __str__(self) -> str:
        return "a frame is missing or damaged"


def _decode_by_pts(
    task: _Task, threads: int, *, skip: bool, strict: bool, nvdec: "Nvdec | None" = None
) -> Iterator[tuple[int, Any]]:
    """Yield frames in order; if `strict`, stop at the first that is not intact."""
    path, probed, remaining, deadline = task
    if not remaining:
        return
    timeline = probed.timeline
    index_of = {pts: index for index, pts in enumerate(timeline.pts)}
    wanted = frozenset(remaining)
    tracker = DamageTracker(timeline.keyframes, timeline.disposable, timeline.after_loss)
    arrived: dict[int, Any] = {}
    decided: dict[int, Any] = {}
    accel = None if nvdec is None else nvdec.accel()
    opened = open_video(path, deadline, threads, strict=strict, conforming=probed.conforming, accel=accel)
    with opened as (container, stream):
        context = decoder_for(stream, probed) if nvdec is None else nvdec.decoder(stream)
        hevc_check = HevcCheck(stream, tracker.mark_damaged)
        for packet in demux(container, stream, deadline):
            if packet is not None:
                index = index_of.get(packet.pts)
                if skip and index not in wanted and index in timeline.disposable:
                    continue
                if index is not None:
                    tracker.sent(index)
                    hevc_check.sent(index, packet)
            frames, went_well = decode(context, packet)
            if not went_well:
                if strict:
                    raise _DamagedError
                if packet is not None and index is not None:
                    tracker.mark_damaged(index)
                hevc_check.found_damage()
            for frame in frames:
                deadline.restart()
                index = index_of.get(frame.pts)
                if index is not None:
                    hevc_check.arrived(index, frame)
                    tracker.arrived(index, clean=not frame.is_corrupt)
                    if index in wanted:
                        arrived[index] = frame
            for index, intact in tracker.settle(0 if packet is None else _PATIENCE + threads):
                if strict and not intact:
                    raise _DamagedError
                if index in wanted:
                    frame = arrived.pop(index, None)
                    decided[index] = frame if intact else None
            while remaining and remaining[0] in decided:
                index = remaining.popleft()
                yield index, decided.pop(index)
            if not remaining:
                return
            del frames
            frame = None


def _decode_by_counting(task: _Task) -> Iterator[tuple[int, Any]]:
    """Identify frames by counting, as the probe did: one thread, no skipping; damage lasts until the next keyframe."""
    path, probed, remaining, deadline = task
    index = 0
    intact = True
    damaged: list[int] = []
    with open_video(path, deadline, threads=1) as (container, stream):
        vp8_check, hevc_check = VP8Check(stream), HevcCheck(stream, damaged.append)
        for number, packet in enumerate(demux(container, stream, deadline)):
            if packet is not None:
                hevc_check.sent(number, packet)
            frames, went_well = decode(stream.codec_context, packet)
            if not went_well:
                hevc_check.found_damage()
            went_well = vp8_check.agrees(packet, frames) and went_well
            intact = intact and went_well and number not in probed.timeline.after_loss
            for frame in frames:
                deadline.restart()
                hevc_check.arrived(index, frame)
                # The packet of a frame is not known: a keyframe near a damaged packet may be that packet's.
                doubted = bool(damaged) and index <= damaged[-1] + _PATIENCE
                intact = not (frame.is_corrupt or doubted) and (intact or (frame.key_frame and went_well))
                if remaining and index == remaining[0]:
                    yield remaining.popleft(), frame if intact else None
                index += 1
            if not remaining:
                return


def _decoded_frame(path: Path, frame: Any, probed: Probe) -> DecodedFrame:
    info, colour = probed.info, probed.info.colour
    if frame.colorspace == UNSPECIFIED:
        frame.colorspace = colour.matrix
    if frame.color_range == 0:
        frame.color_range = colour.range
    # Reading a frame's side data creates a reference cycle: its memory would wait for Python's garbage collector.
    orientation = probed.orientation if frame.rotation == probed.angle else orientation_of(frame)
    decoded = DecodedFrame(frame, info.pixel_aspect, orientation)
    width, height = decoded.size
    if (width, height) != (info.width, info.height):
        raise VideoError(
            Reason.UNREADABLE,
            f"{path} holds frames of {width}x{height} after others of {info.width}x{info.height}: "
            "cut the file where its size changes.",
        )
    return decoded
