"""Reading frames with PyAV: the reference."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from facemill.manifests.records import Reason
from facemill.pipeline.decode.damage import DamageTracker
from facemill.pipeline.decode.frame import Frame
from facemill.pipeline.decode.orientation import orientation_of
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import Deadline, decode, demux, open_video

__all__ = ["read_with_pyav"]

# Packets that may follow that of a frame before it comes out. H.264 and HEVC reorder by 16 pictures at most.
_PATIENCE = 32


def read_with_pyav(
    path: Path, probed: Probe, indices: Sequence[int], deadline: Deadline, threads: int, *, skip: bool = True
) -> Iterator[Frame]:
    """Decode from the start until the last of `indices` came out; only those become RGB.

    Args:
        path: the file that was probed.
        indices: ascending, unique, each below the frame count.
        deadline: restarted whenever a picture came out of the decoder, or a frame was handed out.
        threads: of the decoder.
        skip: leave out packets of pictures that nobody asked for and no other picture needs.

    Raises:
        VideoError: what `open_video` raises.
    """
    deadline.restart()
    remaining = deque(indices)
    if probed.timeline.by_pts:
        # What is missing may be missing because of what was left out, or of an error in another thread.
        with suppress(_DamagedError):
            yield from _read_by_pts(path, probed, remaining, deadline, threads, skip=skip, strict=True)
        yield from _read_by_pts(path, probed, remaining, deadline, threads=1, skip=False, strict=False)
    else:
        yield from _read_by_counting(path, probed, remaining, deadline)
    yield from (_frame(path, probed, index, None) for index in remaining)


class _DamagedError(Exception):
    """A picture did not come out intact."""


def _read_by_pts(
    path: Path, probed: Probe, remaining: deque[int], deadline: Deadline, threads: int, *, skip: bool, strict: bool
) -> Iterator[Frame]:
    """Hand out, and remove from `remaining`, frame after frame; if `strict`, stop where one is not intact."""
    if not remaining:
        return
    timeline = probed.timeline
    index_of = {pts: index for index, pts in enumerate(timeline.pts)}
    wanted = frozenset(remaining)
    tracker = DamageTracker(timeline.keyframes, timeline.disposable)
    arrived: dict[int, Any] = {}
    judged: dict[int, Any] = {}
    with open_video(path, deadline, threads) as (container, stream):
        for packet in demux(container, stream, deadline):
            if packet is not None:
                index = index_of.get(packet.pts)
                if skip and index not in wanted and index in timeline.disposable:
                    continue
                if index is not None:
                    tracker.sent(index)
            for picture in decode(stream, packet)[0]:
                deadline.restart()
                index = index_of.get(picture.pts)
                if index is not None:
                    tracker.arrived(index, clean=not picture.is_corrupt)
                    if index in wanted:
                        arrived[index] = picture
            for index, intact in tracker.settle(0 if packet is None else _PATIENCE + threads):
                if strict and not intact:
                    raise _DamagedError
                if index in wanted:
                    picture = arrived.pop(index, None)
                    judged[index] = picture if intact else None
            while remaining and remaining[0] in judged:
                index = remaining.popleft()
                yield _frame(path, probed, index, judged.pop(index))
                deadline.restart()
            if not remaining:
                return


def _read_by_counting(path: Path, probed: Probe, remaining: deque[int], deadline: Deadline) -> Iterator[Frame]:
    """As the probe counted: one thread, nothing left out; after damage, nothing is intact until a keyframe."""
    index = 0
    intact = True
    with open_video(path, deadline, threads=1) as (container, stream):
        for packet in demux(container, stream, deadline):
            pictures, went_well = decode(stream, packet)
            intact = intact and went_well
            for picture in pictures:
                deadline.restart()
                intact = not picture.is_corrupt and (intact or picture.key_frame)
                if remaining and index == remaining[0]:
                    yield _frame(path, probed, remaining.popleft(), picture if intact else None)
                    deadline.restart()
                index += 1
            if not remaining:
                return


def _frame(path: Path, probed: Probe, index: int, picture: Any) -> Frame:
    info = probed.info
    image = None if picture is None else _upright_rgb(picture)
    if image is not None and image.shape[:2] != (info.height, info.width):
        raise VideoError(
            Reason.UNREADABLE,
            f"Frame {index} of {path} is {image.shape[1]}x{image.shape[0]} after others of {info.width}x{info.height}: "
            "cut the file where its size changes.",
        )
    return Frame(index, probed.timeline.seconds(index, info.fps), image)


def _upright_rgb(picture: Any) -> NDArray[np.uint8]:
    # One thread: as many as there are cores, FFmpeg's choice, is slower and takes them from others.
    rgb: NDArray[np.uint8] = picture.to_ndarray(format="rgb24", threads=1)
    return orientation_of(picture).apply(np.ascontiguousarray(rgb))
